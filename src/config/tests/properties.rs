//! Wrong librdkafka properties, and the very lines that they are answered with.

use super::*;

#[test]
fn what_the_guarantees_rest_on_is_refused() {
    for name in [
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "partition.assignment.strategy",
        "partitioner",
        "statistics.interval.ms",
        "transaction.timeout.ms",
        "transactional.id",
    ] {
        for (table, end) in [
            ("properties", ""),
            ("consumer_properties", "_file"),
            ("producer_properties", "_env"),
        ] {
            let text = format!("{LEAST}[kafka.{table}]\n\"{name}{end}\" = \"x\"\n");
            let lines = Fixture::new().mistakes(&text, &[], &[]);
            let expected = format!(
                "DIR/config.toml:8:1: kafka.{table}.{name}{end}: is decided by the service: "
            );
            assert!(
                lines.len() == 2 && lines[0].starts_with(&expected),
                "{lines:?}"
            );
        }
    }
}

#[test]
fn properties_are_checked() {
    check_added(&[
        (
            "[kafka.properties]\nsasl.pasword = \"x\"\n",
            &[
                "8:6: kafka.properties.sasl.pasword: unknown librdkafka property; the nearest known one is `sasl.password`",
            ],
        ),
        (
            "[kafka.properties]\nsecurity.protocol = \"sasl\"\n",
            &[
                "8:10: kafka.properties.security.protocol: librdkafka does not take this value: Invalid value `sasl` for configuration property `security.protocol`",
            ],
        ),
        (
            "[kafka.properties]\nsecurity.protocol = [\"ssl\"]\n",
            &[
                "8:10: kafka.properties.security.protocol: is an array and should be a string, a number or a boolean",
            ],
        ),
        (
            "[kafka.properties]\nsocket.timeout.ms = 4294967297\n",
            &["8:16: kafka.properties.socket.timeout.ms: is too large a number for librdkafka"],
        ),
        (
            "[kafka.properties]\nsocket.timeout.ms = \"30s\"\n",
            &[
                "8:16: kafka.properties.socket.timeout.ms: librdkafka does not take this value: it would read 30 from it",
            ],
        ),
        (
            "[kafka.properties]\nsasl.password = \"a\"\n\"sasl.password\" = \"b\"\n",
            &[
                "9:1: kafka.properties.sasl.password: was already set at DIR/config.toml:8:6: remove one of the two",
            ],
        ),
        (
            "[kafka.properties]\nsasl.password_env = \"SET\"\nsasl.password_file = \"DIR/password\"\n",
            &[
                "9:6: kafka.properties.sasl.password_file: kafka.properties.sasl.password_env was set too, at DIR/config.toml:8:6: keep one of the two",
            ],
        ),
        (
            "[kafka.properties]\nsasl.password_file = \"DIR/empty\"\n",
            &[
                "8:6: kafka.properties.sasl.password_file: the file is empty: put the secret into it",
            ],
        ),
        (
            "[kafka.properties]\nsasl.password_env = \"EMPTY\"\n",
            &[
                "8:6: kafka.properties.sasl.password_env: the environment variable EMPTY is not set or empty",
            ],
        ),
        (
            "[kafka.properties]\nssl.ca.location = \"DIR/missing\"\n",
            &[
                "8:8: kafka.properties.ssl.ca.location: the file DIR/missing cannot be read: No such file or directory (os error 2)",
            ],
        ),
        (
            "[kafka.properties]\nsecurity.protocol = \"sasl_plaintext\"\nsasl.mechanism = \"PLAIN\"\n",
            &[
                "7:8: kafka.properties: librdkafka refuses the properties together: sasl.username and sasl.password must be set",
            ],
        ),
    ]);
}

#[test]
fn a_socket_timeout_for_every_client_is_no_mistake_though_a_transaction_is_shorter() {
    check_added(&[("[kafka.properties]\nsocket.timeout.ms = 60000\n", &[])]);
}

#[test]
fn timers_are_checked() {
    let timeout = "must be below session.timeout.ms";
    let landing = "or a call of a lost instance could land after its successor's";
    check_added(&[
        (
            "[kafka.producer_properties]\nsession.timeout.ms = 60000\n",
            &[
                "8:17: kafka.producer_properties.session.timeout.ms: is for consumers: move it to [kafka.consumer_properties]",
            ],
        ),
        (
            "[kafka.properties]\nsession.timeout.ms = \"30s\"\n",
            &[
                "8:17: kafka.properties.session.timeout.ms: librdkafka does not take this value: it would read 30 from it",
            ],
        ),
        (
            "[kafka.properties]\nsession.timeout.ms = 10000\n",
            &[&format!(
                "8:17: targets.aipix.delivery.request_timeout: request_timeout (10s) {timeout} (10s), {landing}"
            )],
        ),
        (
            "[kafka.consumer_properties]\nsession.timeout.ms = 3000\nheartbeat.interval.ms = 3000\n[targets.aipix.delivery]\nrequest_timeout = \"2s\"\n",
            &[
                "9:20: kafka.consumer_properties.heartbeat.interval.ms: heartbeat.interval.ms (3s) must be below session.timeout.ms (3s)",
            ],
        ),
        (
            "[kafka.consumer_properties]\nheartbeat.interval.ms = 10000\n",
            &[
                "8:20: kafka.consumer_properties.heartbeat.interval.ms: heartbeat.interval.ms (10s) leaves too little of the lease on the \
                 partitions: 1s before each heartbeat, and calls of targets.aipix need 5s, half of request_timeout. Set it lower, or leave it out",
            ],
        ),
        (
            "[kafka.consumer_properties]\nheartbeat.interval.ms = 6000\n",
            &[],
        ),
        (
            "[kafka.consumer_properties]\nsession.timeout.ms = 60000\nheartbeat.interval.ms = 15000\n",
            &[
                "9:20: kafka.consumer_properties.heartbeat.interval.ms: heartbeat.interval.ms (15s) must be below what tells in time that Kafka is gone (15s)",
            ],
        ),
        (
            "[kafka.consumer_properties]\nmax.poll.interval.ms = 14999\n[shutdown]\ndrain_timeout = \"1s\"\n",
            &[
                "8:19: kafka.consumer_properties.max.poll.interval.ms: max.poll.interval.ms (14999ms) must not be below session.timeout.ms (15s)",
            ],
        ),
        (
            "[kafka.consumer_properties]\nmax.poll.interval.ms = 20000\n",
            &[
                "8:19: shutdown.drain_timeout: drain_timeout (20s) must be below max.poll.interval.ms (20s), or the group moves on before a partition is handed over",
            ],
        ),
        (
            "delivery.request_timeout = \"15s\"\n",
            &[&format!(
                "7:10: targets.aipix.delivery.request_timeout: request_timeout (15s) {timeout} (15s), {landing}"
            )],
        ),
    ]);
}
