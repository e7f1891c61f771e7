"""Writes update events for ConsoleProducer (headers, key, value with tabs between them), about 60 a second, some of them bad."""

import json
import random
import sys
import time

HEADER = "content-type:application/cloudevents+json"


def event(number, data):
    return json.dumps({"specversion": "1.0", "id": str(number), "source": "/dashboard", "type": "example.user.changed", "data": data})


def update(random, number):
    """A key and a value."""
    dice = random.random()
    user = random.randint(1, 400)
    if dice < 0.002:
        return user, "{ this is no event"
    if dice < 0.004:
        return user, event(number, {"target": "nowhere", "user": user, "changes": {"name": "x"}})
    if dice < 0.006:
        return user, event(number, {"target": "valt", "user": user, "changes": {"rooms": "all"}})
    if dice < 0.5:
        # The stand-in knows the permissions 1 to 9.
        return user, event(number, {"target": "aipix", "user": user, "changes": {"permissions": [random.randint(1, 9) if dice > 0.01 else 10]}})
    return user, event(number, {"target": "valt", "user": user, "changes": {"display_name": f"Name {number}", "rooms": [user]}})


def main(seconds):
    dice = random.Random(7)
    begin = time.monotonic()
    number = 0
    while (passed := time.monotonic() - begin) < seconds:
        while number < passed * 60:
            number += 1
            key, value = update(dice, number)
            print(HEADER, key, value, sep="\t")
        sys.stdout.flush()
        time.sleep(0.1)


main(float(sys.argv[1]))
