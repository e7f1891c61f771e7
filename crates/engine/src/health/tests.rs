use super::*;

const FAILED: Verdict = Verdict::Retry { unreachable: false };
const REFUSED: Verdict = Verdict::Retry { unreachable: true };

struct Target {
    health: Health,
    now: Instant,
    rng: fastrand::Rng,
}

impl Target {
    fn new() -> Self {
        let now = Instant::now();
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        Target {
            health: Health::new(backoff, now),
            now,
            rng: fastrand::Rng::with_seed(1),
        }
    }

    /// Of a user who is asked for the first time.
    fn judge(&mut self, user: u64, verdict: Verdict) -> Turn {
        self.judge_of(user, verdict, true)
    }

    fn judge_of(&mut self, user: u64, verdict: Verdict, clean: bool) -> Turn {
        let caller = Caller {
            user: UserKey(user),
            clean,
            odd: false,
        };
        let finding = Finding {
            verdict,
            calls: 1,
            of_all: false,
        };
        self.health
            .judge(Ticket(user), caller, finding, self.now, &mut self.rng)
    }

    fn judge_of_all(&mut self, user: u64, verdict: Verdict) -> Turn {
        let caller = Caller {
            user: UserKey(user),
            clean: true,
            odd: false,
        };
        let finding = Finding {
            verdict,
            calls: 1,
            of_all: true,
        };
        self.health
            .judge(Ticket(user), caller, finding, self.now, &mut self.rng)
    }

    /// Lets the next probe begin, and returns after how long it was due.
    fn probe(&mut self, user: u64) -> Duration {
        let due = self.health.probe_at().unwrap() - self.now;
        self.now += due;
        self.health.probe(Ticket(user), UserKey(user));
        due
    }

    fn cause(&self) -> Option<Cause> {
        match self.health.state() {
            State::Flowing => None,
            State::Holding { cause, .. } | State::Probing { cause, .. } => Some(cause),
        }
    }
}

#[test]
fn each_cause_makes_it_hold() {
    for (verdict, cause) in [
        (REFUSED, Cause::Unreachable),
        (Verdict::Unauthorized, Cause::Unauthorized),
        (Verdict::Fault, Cause::Fault),
        (Verdict::Throttled { retry_after: None }, Cause::Throttled),
    ] {
        let mut target = Target::new();
        assert_eq!(target.judge_of_all(1, verdict), Turn::None);
        assert_eq!(target.cause(), Some(cause));
    }
}

#[test]
fn one_user_who_is_answered_oddly_is_no_outage_and_a_second_one_is() {
    for (verdict, cause) in [
        (Verdict::Unauthorized, Cause::Unauthorized),
        (Verdict::Fault, Cause::Fault),
    ] {
        let mut target = Target::new();
        target.judge(9, Verdict::Delivered);
        target.judge(1, verdict);
        target.judge(1, verdict);
        assert_eq!(target.cause(), None);
        target.judge(9, Verdict::Delivered);
        target.judge(2, verdict);
        assert_eq!(
            target.cause(),
            None,
            "a success between begins the row anew"
        );
        target.judge(1, verdict);
        assert_eq!(target.cause(), Some(cause));
    }
    let mut target = Target::new();
    target.judge(1, Verdict::Fault);
    assert_eq!(
        target.cause(),
        Some(Cause::Fault),
        "nothing shows yet that this is the API at all"
    );
}

#[test]
fn a_user_who_has_not_failed_is_asked_at_once_and_one_such_answer_decides() {
    let mut target = Target::new();
    let odd = |target: &mut Target| {
        target.judge(1, Verdict::Fault);
        target.judge(2, Verdict::Fault);
        assert_eq!(target.health.clean_at(), Some(target.now));
    };
    target.judge(9, Verdict::Delivered);
    odd(&mut target);
    target.health.probe(Ticket(3), UserKey(3));
    assert_eq!(target.judge(3, Verdict::Delivered), Turn::Refuted);
    odd(&mut target);
    target.probe(1);
    assert_eq!(target.judge_of(1, Verdict::Fault, false), Turn::None);
    assert!(
        target.health.clean_at().is_some() && target.health.is_doubted(),
        "one who failed before tells nothing new"
    );
    target.health.probe(Ticket(3), UserKey(3));
    target.judge(3, Verdict::Fault);
    assert!(!target.health.is_doubted());
    let next = target.health.clean_at().unwrap() - target.now;
    assert!(
        next >= Duration::from_millis(100) && next <= Duration::from_millis(200),
        "{next:?}"
    );
    target.probe(4);
    assert_eq!(target.judge(4, Verdict::Delivered), Turn::Over);
}

#[test]
fn a_user_who_is_known_to_be_odd_never_makes_it_hold_but_for_what_speaks_of_all() {
    let mut target = Target::new();
    target.judge(9, Verdict::Delivered);
    let odd = |number: u64| Caller {
        user: UserKey(number),
        clean: false,
        odd: true,
    };
    for number in 1..=9 {
        for verdict in [
            Verdict::Fault,
            Verdict::Unauthorized,
            FAILED,
            Verdict::Throttled { retry_after: None },
        ] {
            let finding = Finding {
                verdict,
                calls: 1,
                of_all: false,
            };
            target.health.judge(
                Ticket(number),
                odd(number),
                finding,
                target.now,
                &mut target.rng,
            );
        }
    }
    assert_eq!(target.cause(), None);
    let refused = Finding {
        verdict: Verdict::Unauthorized,
        calls: 1,
        of_all: true,
    };
    target
        .health
        .judge(Ticket(1), odd(1), refused, target.now, &mut target.rng);
    assert_eq!(target.cause(), Some(Cause::Unauthorized));
}

#[test]
fn what_was_not_called_says_nothing() {
    let mut target = Target::new();
    for number in 1..9 {
        target.judge(number, Verdict::NotCalled);
    }
    assert_eq!(target.cause(), None);
    target.judge(1, REFUSED);
    target.probe(1);
    target.judge(1, Verdict::NotCalled);
    assert_eq!(
        target.health.probe_at(),
        Some(target.now),
        "another probe may start at once"
    );
}

#[test]
fn one_user_who_fails_is_no_outage_and_several_in_a_row_are() {
    let mut target = Target::new();
    for _ in 0..10 {
        target.judge(1, FAILED);
    }
    target.judge(2, FAILED);
    assert_eq!(target.cause(), None);
    assert!(target.health.others_fail(UserKey(1)));
    target.judge(9, Verdict::Delivered);
    target.judge(1, FAILED);
    target.judge(2, FAILED);
    assert_eq!(
        target.cause(),
        None,
        "a success between begins the row anew"
    );
    target.judge(3, FAILED);
    assert_eq!(target.cause(), Some(Cause::Unreachable));
}

#[test]
fn probes_come_ever_more_seldom_until_one_is_answered() {
    let mut target = Target::new();
    target.judge(1, REFUSED);
    for failed in 1..=10u32 {
        let bound = Duration::from_millis(200)
            .saturating_mul(1 << (failed - 1))
            .min(Duration::from_secs(30));
        let due = target.probe(1);
        assert!(due >= bound / 2 && due <= bound, "{failed}: {due:?}");
        assert_eq!(target.judge(1, REFUSED), Turn::None);
    }
    target.probe(1);
    let rejected = Verdict::Rejected {
        user_not_found: false,
    };
    assert_eq!(
        target.judge(1, rejected),
        Turn::Over,
        "a rejection is an answer of the API as well"
    );
    assert_eq!(target.cause(), None);
}

#[test]
fn an_answer_to_a_call_from_before_does_not_heal_it() {
    let mut target = Target::new();
    target.judge(1, REFUSED);
    assert_eq!(target.judge(2, Verdict::Delivered), Turn::None);
    assert_eq!(target.cause(), Some(Cause::Unreachable));
}

#[test]
fn a_pause_is_kept_as_asked_and_at_most_five_minutes() {
    let mut target = Target::new();
    target.judge(
        1,
        Verdict::Throttled {
            retry_after: Some(Duration::from_secs(20)),
        },
    );
    let due = target.health.probe_at().unwrap() - target.now;
    assert!(
        due >= Duration::from_secs(20) && due <= Duration::from_secs(21),
        "{due:?}"
    );
    // A call that was under way is asked for more.
    target.judge(
        2,
        Verdict::Throttled {
            retry_after: Some(Duration::from_secs(86_400)),
        },
    );
    assert_eq!(
        target.health.probe_at().unwrap() - target.now,
        Duration::from_secs(300)
    );
}

#[test]
fn refused_credentials_are_tried_again_after_5_seconds_doubling_to_60_and_at_once_when_they_change()
{
    let mut target = Target::new();
    target.judge_of_all(1, Verdict::Unauthorized);
    for seconds in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
        let due = target.probe(1).as_secs_f64();
        assert!(due >= seconds && due <= seconds * 1.1, "{due}");
        target.judge_of_all(1, Verdict::Unauthorized);
    }
    target.health.probe_now(target.now);
    assert_eq!(target.health.probe_at(), Some(target.now));
}

#[test]
fn a_probe_that_is_given_up_makes_room_for_another() {
    let mut target = Target::new();
    target.judge(1, REFUSED);
    target.probe(1);
    assert_eq!(target.health.probe_at(), None);
    target.health.probe_abandoned(Ticket(1), target.now);
    assert_eq!(target.health.probe_at(), Some(target.now));
}
