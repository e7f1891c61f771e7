//! Dead letters on the operator's page: found, looked into, planned, replayed and seen delivered;
//! by mouse, by keys, and by nobody else.

use serde_json::{Value, json};
use stand_in::Rule;

use crate::console::{Answer, TOKEN, ask, console};
use crate::dead_letters::{changes, refusing};
use crate::harness::bench::Bench;
use crate::harness::browser::Browser;
use crate::harness::kafka::{Message, Writer};
use crate::harness::service::Service;
use crate::harness::update::Update;

/// The number of letters in a run of every day; the page is as quick with a million (see below).
const MANY: u64 = 20_000;

/// Asks for something to be done, as the page does.
pub(crate) fn act(console: &Service, path: &str, token: Option<&str>, body: &Value) -> Answer {
    let address = console.address();
    let (host, origin) = (address.to_string(), format!("http://{address}"));
    let form = ask(address, "/api/hello", &[("Host", &host)], None).json()["form_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let bearer = format!("Bearer {}", token.unwrap_or_default());
    let mut headers = vec![
        ("Host", host.as_str()),
        ("Origin", &origin),
        ("X-Form-Token", &form),
    ];
    if token.is_some() {
        headers.push(("Authorization", &bearer));
    }
    ask(address, path, &headers, Some(&body.to_string()))
}

fn get(console: &Service, path: &str) -> Answer {
    ask(
        console.address(),
        path,
        &[("Host", &console.address().to_string())],
        None,
    )
}

/// Waits until a job is in that state.
pub(crate) async fn job(console: &Service, id: &str, state: &str) -> Value {
    crate::harness::browser::patiently(&format!("the job is {state}"), async || {
        let job = get(console, &format!("/api/jobs/{id}")).json();
        assert!(job["state"] != "failed", "{job}");
        (job["state"] == state).then_some(job)
    })
    .await
}

/// Waits until the index has so many letters that the query takes.
pub(crate) async fn listed(console: &Service, query: &str, count: usize) -> Value {
    crate::harness::browser::patiently(&format!("{count} letters"), async || {
        let answer = get(console, &format!("/api/letters?{query}")).json();
        (answer["list"]["total"] == count && answer["list"]["outcomes_read"] == true)
            .then_some(answer["list"].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn dead_letters_are_found_planned_replayed_and_seen_delivered_by_keys_alone() {
    let mut bench = refusing([1, 2, 3]).await;
    let service = bench.start();
    let places = bench.send(&[
        Update::valt(1, "Anna"),
        changes(2, json!({ "display_name": "Berta", "rooms": [1] })),
        changes(3, json!({ "rooms": "none" })),
        Update::valt(4, "Dora"),
    ]);
    bench.outcomes_of(&places);
    bench.valt.clear_faults();
    // What overwrites a part of one of them.
    let newer = bench.send(&[Update::valt(2, "Bella")]);
    bench.outcomes_of(&[places, newer].concat());

    let console = console(&mut bench, Some(&service));
    let browser = Browser::start().await;
    browser.look(1280, 900, false).await;
    browser
        .open(&format!("http://{}/#letters", console.address()))
        .await;
    browser.until_text(".total", "3 open dead letters").await;
    // A filter that cannot be meant takes nothing, rather than everything.
    for (query, words) in [
        ("target=zzz", "there is no such target"),
        ("reason=zzz", "the reasons are"),
        ("since=soon", "since: write a time as"),
        ("until=soon", "until: write a time as"),
        ("traget=valt", "unknown field"),
    ] {
        browser
            .open(&format!("http://{}/#letters?{query}", console.address()))
            .await;
        browser.until_text(".state-line", words).await;
        browser.until("!document.querySelector('.actions button') && !document.querySelector('.total').innerText").await;
        browser.keys("p").await;
        assert_eq!(
            browser
                .run("return document.querySelectorAll('dialog').length")
                .await,
            0
        );
    }
    browser
        .open(&format!("http://{}/#letters", console.address()))
        .await;
    browser.until_text(".total", "3 open dead letters").await;
    browser
        .until("document.querySelectorAll('.letters tbody tr').length === 3")
        .await;
    browser
        .until_text("[aria-label='By reason'] button", "rejected")
        .await;

    // `/` goes to the filter; what is typed there counts at once.
    browser.keys("/").await;
    browser
        .until("document.activeElement.id === 'filter-user'")
        .await;
    browser.keys("3").await;
    browser.until_text(".total", "1 open dead letter").await;
    browser.until("location.hash === '#letters?user=3'").await;
    browser.keys("\u{e003}").await;
    browser
        .until("document.querySelectorAll('.letters tbody tr').length === 3")
        .await;
    browser.keys("x").await;
    browser
        .until_text(".state-line", "a user is a whole number")
        .await;
    browser.keys("\u{e003}").await;
    browser
        .until("!document.querySelector('.state-line').innerText")
        .await;

    // Rows by arrows; Enter opens what `show` tells.
    browser.run("document.activeElement.blur()").await;
    browser.keys("\u{e015}").await;
    browser
        .until("document.activeElement === document.querySelectorAll('.letters .open')[0]")
        .await;
    browser.keys("\u{e015}").await;
    browser.keys("\u{e013}").await;
    browser.keys("\u{e007}").await;
    browser.until_text(".detail .sheet", "A replay would").await;
    browser.keys("\u{e00c}").await;
    browser.until("!document.querySelector('.detail')").await;
    // A click anywhere on a row does the same.
    browser.click(".letters tbody tr .words").await;
    browser.until_text(".detail .sheet", "A replay would").await;
    browser.click(".letters tbody tr .words").await;
    browser.until("!document.querySelector('.detail')").await;

    // The plan is that of `replay --dry-run`.
    browser.keys("p").await;
    browser
        .until("document.querySelector('dialog .plan')")
        .await;
    let row = |reason: &str| {
        let script = "return [...[...document.querySelectorAll('dialog .plan tbody tr')].find(row => row.innerText.includes(REASON)).cells].slice(2).map(cell => cell.innerText).join()";
        script.replace("REASON", &format!("{reason:?}"))
    };
    assert_eq!(browser.run(&row("rejected")).await, "1,1,0,0");
    assert_eq!(browser.run(&row("invalid_changes")).await, "0,0,0,1");
    assert_eq!(browser.run(&row("in all")).await, "1,1,0,1");
    browser.until_text("dialog summary", "trim 1").await;
    for words in ["refuse 1", "it will fail again as invalid_changes"] {
        let told = format!("document.querySelector('dialog').textContent.includes({words:?})");
        browser.until(&told).await;
    }

    // A wrong token sends nothing.
    browser.until("document.querySelector('#operator')").await;
    browser
        .run("document.querySelector('#operator').focus()")
        .await;
    browser.keys("Olga\u{e004}not the token\u{e007}").await;
    browser
        .until_text("dialog .problem", "this is not the token")
        .await;
    // Nor does a limit that is none.
    browser.run("document.querySelector('#token').value = ''; document.querySelector('#rate').value = '5/s'; document.querySelector('#token').focus()").await;
    browser.keys(&format!("{TOKEN}\u{e007}")).await;
    browser
        .until_text("dialog .problem", "write a whole number")
        .await;
    assert_eq!(crate::dead_letters::replays(&bench).len(), 0);
    browser
        .run("document.querySelector('#rate').value = ''; document.querySelector('#token').focus()")
        .await;
    browser.keys("\u{e007}").await;
    browser
        .until_text("dialog h2", "The replay has ended")
        .await;
    browser.until_text("dialog .counts", "2 delivered").await;
    browser.keys("\u{e00c}").await;
    browser.until("!document.querySelector('dialog')").await;
    browser.until_text(".total", "1 open dead letter").await;

    let sent = crate::dead_letters::replays(&bench);
    assert_eq!(sent.len(), 2);
    assert_eq!(
        bench.valt.fields(2).unwrap()["display_name"],
        "Bella",
        "what is newer was not overwritten"
    );
    assert_eq!(bench.valt.fields(2).unwrap()["rooms"], json!([1]));
    // Who did what stands in the log; the token does not.
    console.wait_for_log("the replay has ended");
    let log = console.log();
    let line = log
        .lines()
        .find(|line| line.contains("the replay has ended"))
        .unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let fields = &line["fields"];
    assert_eq!(
        (&fields["operator"], &fields["wanted"]),
        (&json!("Olga"), &json!("all open ones"))
    );
    assert_eq!(
        ["sent", "trimmed", "superseded", "refused"].map(|name| fields[name].as_u64().unwrap()),
        [1, 1, 0, 1]
    );
    assert!(fields["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(!log.contains(TOKEN));
    // The browser mentions the wrong filter and the wrong token, and nothing else.
    let refused =
        |line: &&String| line.contains("400 (Bad Request)") || line.contains("401 (Unauthorized)");
    let complaints = browser.complaints().await;
    assert!(
        complaints.iter().all(|line| refused(&line)),
        "{complaints:?}"
    );
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn a_replay_takes_the_token_and_the_pages_own_request() {
    let mut bench = refusing([1, 2]).await;
    let service = bench.start();
    let places = bench.send(&[Update::valt(1, "Anna"), Update::valt(2, "Berta")]);
    bench.outcomes_of(&places);
    bench.valt.clear_faults();
    let console = console(&mut bench, Some(&service));
    let list = listed(&console, "target=valt&reason=rejected&since=1h", 2).await;
    let place = list["rows"][0]["place"].as_str().unwrap().to_owned();

    let (address, host) = (console.address(), console.address().to_string());
    let own = format!("http://{address}");
    let body = json!({ "places": [place] }).to_string();
    for headers in [
        &[("Host", &*host)][..],
        &[("Host", &host), ("Origin", &own)],
        &[
            ("Host", &host),
            ("Origin", &own),
            ("X-Form-Token", "guessed"),
        ],
    ] {
        assert_eq!(
            ask(address, "/api/plan", headers, Some(&body)).0,
            403,
            "{headers:?}"
        );
    }
    for (wrong, words) in [
        (json!({ "places": [] }), "tick 1 to 1000"),
        (
            json!({ "places": ["user-updates/0/0"] }),
            "not the dead-letter topic",
        ),
        (
            json!({ "filter": { "target": "vault" } }),
            "the configuration has aipix, valt, unclaimed",
        ),
        (
            json!({ "filter": { "since": "1h", "until": "2h" } }),
            "nothing can lie between",
        ),
        (json!([]), "cannot be read"),
    ] {
        let Answer(status, _, text) = act(&console, "/api/plan", None, &wrong);
        assert!(
            status == 400 && text.contains(words),
            "{wrong}: {status} {text}"
        );
    }

    let id = act(&console, "/api/plan", None, &json!({ "places": [place] })).json()["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let plan = job(&console, &id, "planned").await;
    assert_eq!(
        (
            &plan["result"]["sums"],
            &plan["result"]["steps"][0]["place"]
        ),
        (&json!([1, 0, 0, 0]), &json!(place))
    );
    let yes = json!({ "operator": "Olga\n\u{202e}", "rate": null });
    let path = format!("/api/jobs/{id}/yes");
    assert_eq!(
        [
            act(&console, &path, None, &yes).0,
            act(&console, &path, Some("wrong"), &yes).0
        ],
        [401, 401]
    );
    console.wait_for_log("a wrong token was given");
    assert_eq!(
        console.log().matches("a wrong token was given").count(),
        1,
        "no token is no wrong one"
    );
    assert_eq!(
        act(
            &console,
            &path,
            Some(TOKEN),
            &json!({ "operator": " ", "rate": null })
        )
        .0,
        400,
        "it wants a name"
    );
    assert_eq!(act(&console, &path, Some(TOKEN), &yes).0, 200);
    assert_eq!(act(&console, &path, Some(TOKEN), &yes).0, 409, "once");
    let done = job(&console, &id, "done").await;
    assert_eq!(done["result"]["sums"], json!([1, 0, 0, 0]));
    listed(&console, "", 1).await;
    assert_eq!(crate::dead_letters::replays(&bench).len(), 1);
    console.wait_for_log("the replay has ended");
    assert!(
        console.log().contains(r"Olga\\n\\u{202e}"),
        "what is strange in a name cannot be mistaken for another line"
    );

    // A plan that is given up sends nothing, and takes no yes.
    let id = act(&console, "/api/plan", None, &json!({})).json()["job"]
        .as_str()
        .unwrap()
        .to_owned();
    job(&console, &id, "planned").await;
    assert_eq!(
        act(
            &console,
            &format!("/api/jobs/{id}/cancel"),
            None,
            &json!({})
        )
        .0,
        200
    );
    assert_eq!(job(&console, &id, "done").await["result"]["given_up"], true);
    assert_eq!(
        act(&console, &format!("/api/jobs/{id}/yes"), Some(TOKEN), &yes).0,
        409
    );
    assert_eq!(crate::dead_letters::replays(&bench).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_replay_is_not_offered_and_the_page_says_how_to_enable_it() {
    let mut bench = refusing([1]).await;
    let service = bench.start();
    let places = bench.send(&[Update::valt(1, "Anna")]);
    bench.outcomes_of(&places);
    bench.set(
        "console.instances",
        vec![toml::Value::from(format!("http://{}", service.address()))],
    );
    let console = Service::console(&bench.config_file());
    let browser = Browser::start().await;
    browser
        .open(&format!("http://{}/#letters", console.address()))
        .await;
    browser.until_text(".total", "1 open dead letter").await;
    browser.click(".actions .main").await;
    browser
        .until_text("dialog .note", "[console] token_file")
        .await;
    assert_eq!(
        browser.run("return document.querySelector('#yes')").await,
        Value::Null
    );
    let id = act(&console, "/api/plan", None, &json!({})).json()["job"]
        .as_str()
        .unwrap()
        .to_owned();
    job(&console, &id, "planned").await;
    let Answer(status, _, words) = act(
        &console,
        &format!("/api/jobs/{id}/yes"),
        Some("anything"),
        &json!({ "operator": "x", "rate": null }),
    );
    assert!(
        status == 403 && words.contains("console.token_file"),
        "{status} {words}"
    );
}

/// Every way into markup that comes to mind, and what turns a line around.
const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'><svg onload=alert(3)>\u{202e}\u{200b}javascript:alert(4)";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn a_hostile_event_harms_nothing() {
    let mut bench = Bench::new().await;
    bench.aipix.fault(
        Rule::status(422)
            .user(1)
            .body(json!({ "message": HOSTILE, "errors": { HOSTILE: [HOSTILE] } })),
    );
    let service = bench.start();
    let hostile = |update: Update| {
        let update = update
            .with("id", HOSTILE)
            .with("source", HOSTILE)
            .with("type", HOSTILE);
        update.header(HOSTILE, HOSTILE).header("x", HOSTILE)
    };
    let places = bench.send(&[
        hostile(Update::aipix(1, &[1])),
        hostile(Update::new("valt", 2, json!({ HOSTILE: HOSTILE }))),
        hostile(Update::new(HOSTILE, 3, json!({ "name": HOSTILE }))),
        hostile(Update::of_data(HOSTILE, json!(HOSTILE))),
        hostile(Update::valt(4, HOSTILE)),
    ]);
    bench.outcomes_of(&places);
    let console = console(&mut bench, Some(&service));
    let browser = Browser::start().await;
    browser.look(1280, 900, false).await;
    browser
        .open(&format!("http://{}/", console.address()))
        .await;
    browser
        .run("window.breaches = []; addEventListener('securitypolicyviolation', breach => breaches.push(breach.violatedDirective))")
        .await;
    browser
        .until("document.querySelectorAll('.card').length === 3")
        .await;
    browser.run("location.hash = '#letters'").await;
    browser.until_text(".total", "4 open dead letters").await;
    browser
        .run("document.querySelectorAll('.letters .open').forEach(button => button.click())")
        .await;
    browser
        .until("[...document.querySelectorAll('.detail .sheet')].filter(sheet => sheet.innerText.includes('A replay would')).length === 4")
        .await;
    browser
        .until_text(
            ".detail",
            "<img src=x onerror=alert(1)><script>alert(2)</script>",
        )
        .await;
    browser.until_text(".odd", "U+202E").await;
    browser.click(".actions .main").await;
    browser
        .until("document.querySelector('dialog .steps')")
        .await;
    browser
        .run("document.querySelectorAll('details').forEach(details => details.open = true)")
        .await;
    let strangers = "return [...document.querySelectorAll('script, img, iframe, object, [onerror], [onload]')].filter(one => !['app.js', 'icon.svg'].includes(one.getAttribute('src'))).length";
    assert_eq!(
        browser.run(strangers).await,
        0,
        "nothing of it became an element"
    );
    browser.keys("\u{e00c}").await;
    browser.run("location.hash = '#user/valt/4'").await;
    browser.until_text(".sheet", "delivered since").await;
    browser
        .run("location.hash = `#user/${encodeURIComponent('<img src=x onerror=alert(1)>')}/1`")
        .await;
    browser
        .until_text(".problem", "there is no such target")
        .await;
    browser
        .run("location.hash = '#letters?reason=<script>&user=<img>'")
        .await;
    browser.until_text(".problem", "the reasons are").await;
    browser.run("location.hash = '#letters?user=<img>'").await;
    browser
        .until_text(".problem", "a user is a whole number")
        .await;
    assert_eq!(browser.run(strangers).await, 0);
    assert_eq!(
        browser.run("return breaches").await,
        json!([]),
        "its policy was not even asked"
    );
    assert!(!browser.has_dialog().await);
    assert_eq!(
        browser
            .complaints()
            .await
            .iter()
            .filter(|line| !line.contains("400 (Bad Request)"))
            .count(),
        0
    );
    // What comes from elsewhere stands apart from the direction of what is around it.
    assert_eq!(
        browser
            .run("return [...document.querySelectorAll('.letters .words')].every(cell => cell.firstElementChild.tagName === 'BDI')")
            .await,
        true
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn a_user_is_told_of_and_no_secret_is_in_any_byte() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    let words = json!({ "error": { "code": 422, "message": "card_number 5555-Canary is taken" } });
    bench.valt.fault(Rule::status(422).user(52).body(words));
    let service = bench.start();
    let places = bench.send(&[
        Update::new(
            "valt",
            52,
            json!({ "password": "one-Canary-1", "card_number": "5555-Canary" }),
        )
        .header("authorization", "Bearer Canary-2"),
        Update::new("valt", 52, json!({ "pasword": "two-Canary-3" })),
        Update::new("valt", 53, json!({ "password": "three-Canary-4" })),
        Update::of_data("1", json!("not an update: Canary-5")),
    ]);
    bench.outcomes_of(&places);
    let console = console(&mut bench, Some(&service));
    let list = listed(&console, "", 3).await;
    let mut bytes = String::new();
    for path in [
        "/",
        "/app.js",
        "/api/hello",
        "/api/now",
        "/api/letters?all=true",
        "/api/letters?user=52",
    ] {
        let Answer(_, head, body) = get(&console, path);
        bytes += &(head + &body);
    }
    let read = |what: Value| {
        act(&console, "/api/read", None, &what).json()["job"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut jobs: Vec<String> = list["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| read(json!({ "letter": row["place"] })))
        .collect();
    jobs.push(read(
        json!({ "user": { "target": "valt", "user": "52", "since": "" } }),
    ));
    let mut told = Vec::new();
    for id in &jobs {
        told.push(job(&console, id, "done").await["result"].clone());
    }
    let plan = act(
        &console,
        "/api/plan",
        None,
        &json!({ "filter": { "all": true } }),
    )
    .json()["job"]
        .as_str()
        .unwrap()
        .to_owned();
    bytes += &job(&console, &plan, "planned").await.to_string();
    told.iter().for_each(|sheet| bytes += &sheet.to_string());
    assert!(!bytes.contains("Canary"), "{bytes}");
    assert!(!console.log().contains("Canary"));
    // It is the sheet of the commands.
    let user = &told[3];
    assert_eq!(user["title"], "user 52 at valt");
    assert_eq!(
        user["sections"][0]["lines"][0]
            .as_str()
            .unwrap()
            .rsplit(", ")
            .next(),
        Some("as one says")
    );
    assert_eq!(
        user["sections"][3]["table"]["rows"]
            .as_array()
            .unwrap()
            .len(),
        2,
        "its open dead letters"
    );
    let shown = told
        .iter()
        .find(|sheet| sheet["title"].as_str().unwrap().contains("rejected"))
        .unwrap();
    assert!(shown["sections"][1]["lines"].to_string().contains("***"));

    let browser = Browser::start().await;
    browser
        .open(&format!("http://{}/#user/valt/53", console.address()))
        .await;
    browser.until_text(".sheet", "fields last changed").await;
    browser.until_text(".sheet td", "password").await;
    assert_eq!(
        act(
            &console,
            "/api/read",
            None,
            &json!({ "user": { "target": "valt", "user": "0", "since": "" } })
        )
        .0,
        400
    );
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// Writes dead letters as the service would have, given up one after the other until now.
fn write_letters(bench: &Bench, count: u64) {
    let letters = Writer::new(&bench.servers, &bench.topic(2));
    let now = jiff::Timestamp::now();
    let updates = bench.topic(0);
    for chunk in (0..count).step_by(20_000) {
        let made = (chunk..(chunk + 20_000).min(count)).map(|number| {
            let update = Update::valt(1 + number % 100_000, "Anna").message();
            let reason = if number % 1_000 == 0 {
                "user_not_found"
            } else {
                "rejected"
            };
            let failed_at = now
                - jiff::SignedDuration::from_millis(80 * i64::try_from(count - number).unwrap());
            let added = [
                ("__connect.errors.topic", updates.clone()),
                ("__connect.errors.partition", "0".to_owned()),
                ("__connect.errors.offset", number.to_string()),
                ("__connect.errors.stage", "TASK_PUT".to_owned()),
                (
                    "__connect.errors.exception.message",
                    "The given data was invalid.".to_owned(),
                ),
                ("dlq.reason", reason.to_owned()),
                ("dlq.target", "valt".to_owned()),
                ("dlq.user", (1 + number % 100_000).to_string()),
                ("dlq.attempts", "1".to_owned()),
                ("dlq.http_status", "422".to_owned()),
                ("dlq.failed_at", failed_at.to_string()),
                ("dlq.replays", "0".to_owned()),
            ];
            let added = added.map(|(name, value)| (name.to_owned(), Some(value.into_bytes())));
            Message {
                headers: update.headers.into_iter().chain(added).collect(),
                ..update
            }
        });
        letters.write(&made.collect::<Vec<_>>());
    }
}

/// How quick the page is with so many: in seconds, the first rows, all of them read, a filter, and
/// the next page.
async fn measure(count: u64) -> [f64; 4] {
    let mut bench = Bench::new().await;
    write_letters(&bench, count);
    let browser = Browser::start().await;
    browser.look(1280, 900, false).await;
    let console = console(&mut bench, None);
    browser
        .open(&format!("http://{}/#letters", console.address()))
        .await;
    let began = std::time::Instant::now();
    browser
        .until("document.querySelectorAll('.letters tbody tr').length === 200")
        .await;
    let first = began.elapsed();
    let all = crate::harness::browser::thousands(count);
    browser
        .until_text(".total", &format!("{all} open dead letters"))
        .await;
    let read = began.elapsed();
    let filter = {
        browser
            .click("[aria-label='By reason'] button:last-child")
            .await;
        browser
            .until_text(
                ".total",
                &format!(
                    "{} open dead letters",
                    crate::harness::browser::thousands(count.div_ceil(1_000))
                ),
            )
            .await
    };
    browser
        .click("[aria-label='By reason'] button[aria-pressed=true]")
        .await;
    browser
        .until_text(".total", &format!("{all} open dead letters"))
        .await;
    let before = browser
        .run("return document.querySelector('.letters tbody tr').innerText")
        .await;
    browser.click(".paging button:last-child").await;
    let next = browser
        .until(&format!(
            "document.querySelector('.letters tbody tr').innerText !== {before}"
        ))
        .await;
    let rows = browser
        .run("return document.querySelectorAll('.letters tbody tr').length")
        .await;
    assert_eq!(rows, 200, "the page has never more rows than these");
    assert_eq!(browser.complaints().await, [""; 0]);
    [first, read, filter, next].map(|time| time.as_secs_f64())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dead_letters_leave_the_page_quick() {
    let [_, _, filter, next] = measure(MANY).await;
    assert!(filter < 5.0 && next < 5.0, "{filter} s, {next} s");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and a gigabyte of disk; it measures rather than tests"]
async fn a_million_dead_letters_leave_the_page_quick() {
    let [first, read, filter, next] = measure(1_000_000).await;
    println!(
        "a million dead letters: first rows {first:.1} s, all read {read:.1} s, a filter {filter:.2} s, the next page {next:.2} s"
    );
}
