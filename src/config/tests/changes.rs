use super::*;

#[test]
fn limits_retries_and_the_log_level_are_taken_up_and_nothing_else_is() {
    let fixture = Fixture::new();
    let before = fixture.load(LEAST, &[], &[]).unwrap();
    assert_eq!(before.change_since(&before), Change::default());
    let text = format!(
        "{LEAST}[targets.aipix.delivery]\nmax_concurrency = 3\nrequest_timeout = \"9s\"\n[targets.aipix.retry]\nmax_attempts = 2\n\
         [[routes]]\nsource = \"*\"\ntarget = \"aipix\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n"
    );
    let change = fixture.load(&text, &[], &[]).unwrap().change_since(&before);
    assert_eq!(
        change.taken,
        [
            "log.level",
            "targets.aipix.delivery.max_concurrency",
            "targets.aipix.retry.max_attempts"
        ]
    );
    assert_eq!(
        change.refused,
        [
            "log.format",
            "routes.0.source",
            "routes.0.target",
            "targets.aipix.delivery.request_timeout"
        ]
    );
}

#[test]
fn what_the_environment_sets_is_no_change_where_only_the_file_differs() {
    let fixture = Fixture::new();
    let environment = [("USER_COURIER__TARGETS__AIPIX__RETRY__MAX_ATTEMPTS", "3")];
    let with = |attempts: u32| format!("{LEAST}[targets.aipix.retry]\nmax_attempts = {attempts}\n");
    let before = fixture.load(&with(5), &environment, &[]).unwrap();
    let after = fixture.load(&with(6), &environment, &[]).unwrap();
    assert_eq!(after.change_since(&before), Change::default());
    assert_eq!(after.targets[0].retry.max_attempts, 3);
}
