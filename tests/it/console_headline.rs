//! The operator's page: what it says first, and how it leads on.

use std::net::SocketAddr;

use serde_json::json;
use stand_in::Rule;

use crate::console::{TOKEN, ask, console};
use crate::harness::bench::Bench;
use crate::harness::browser::Browser;
use crate::harness::kafka::Message;
use crate::harness::service::Service;
use crate::harness::update::Update;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_lines_and_the_tab_say_what_is_wrong_and_what_is_broken_comes_first() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    let browser = Browser::start().await;
    browser.open(&format!("http://{}", console.address())).await;
    browser
        .until_text(".headline .flowing", "every target delivers")
        .await;
    let first = |name: &str| format!("document.querySelector('.card h2').innerText === '{name}'");
    browser.until(&first("aipix")).await;

    bench.valt.close_port().await;
    bench.send(&[Update::valt(1, "Anna"), Update::valt(2, "Berta")]);
    let line = ".headline .holding";
    for words in [
        "valt has not delivered for",
        "the API cannot be reached",
        "2 updates wait",
        "the oldest for",
        "none is lost",
        "Is the API up",
    ] {
        browser.until_text(line, words).await;
    }
    browser.until(&first("valt")).await;
    let title = "document.title === '✗ valt holding · ";
    browser.until(&format!("{title}Now – user-courier'")).await;
    browser
        .until("document.querySelector('#icon').href.endsWith('/icon-bad.svg')")
        .await;
    browser.click("nav a[href='#letters']").await;
    browser
        .until(&format!("{title}Dead letters – user-courier'"))
        .await;

    bench.valt.open_port().await;
    browser
        .until("document.title === 'Dead letters – user-courier'")
        .await;
    browser.click("nav a[href='#now']").await;
    browser
        .until_text(".headline .flowing", "every target delivers")
        .await;
    browser.until(&first("aipix")).await;
    browser
        .until("document.querySelector('#icon').href.endsWith('/icon.svg')")
        .await;
    assert_eq!(browser.complaints().await, [""; 0]);
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_page_links_lead_to_a_dead_letter_its_replay_and_its_user() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    let wrong = [1, 2].map(|user| Update::new("valt", user, json!({ "rooms": "none" })));
    let places = bench.send(&wrong);
    bench.outcomes_of(&places);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}", console.address())).await;
    browser
        .until_text(".headline", "2 dead letters are open")
        .await;
    browser.until_text("#open-letters", "2").await;
    browser
        .until_text(
            ".card a[href='#letters?target=valt']",
            "2 open dead letters",
        )
        .await;
    browser.click(".card a[href='#letters?target=valt']").await;
    browser.until_text(".total", "2 open dead letters").await;
    browser.until_text(".letters .ago", "ago").await;
    browser.click(".letters tbody tr .words").await;
    browser.until_text(".detail .sheet", "A replay would").await;
    browser.click(".detail .ways button").await;
    browser.until_text("dialog", "For 1 dead letter:").await;
    browser.keys("\u{e00c}").await;
    browser.until("!document.querySelector('dialog')").await;

    browser.click(".detail .ways a[href^='#user/valt/']").await;
    browser.until_text(".sheet", "dead letters").await;
    browser.until("document.title.startsWith('valt ')").await;
    browser
        .click(".result .ways a[href^='#letters?target=valt&user=']")
        .await;
    browser.until_text(".total", "1 open dead letter").await;

    // A filter that takes nothing leaves no empty table, and no plan of nothing.
    browser.run("location.hash = '#letters?user=77'").await;
    browser.until_text(".total", "0 open dead letters").await;
    browser
        .until("!document.querySelector('.letters').offsetHeight && !document.querySelector('.actions button').offsetHeight")
        .await;
    assert_eq!(browser.complaints().await, [""; 0]);
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_waits_for_long_at_an_api_that_works_is_named_in_the_first_lines() {
    let mut bench = Bench::new().await;
    bench.valt.fault(Rule::status(503).user(7));
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    let ten_minutes_ago = jiff::Timestamp::now().as_millisecond() - 600_000;
    bench.writer.write(&[Message {
        timestamp: Some(ten_minutes_ago),
        ..Update::valt(7, "Anna").message()
    }]);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}", console.address())).await;
    let line = ".headline .probing";
    for words in [
        "valt works, yet an update has waited for 10 min",
        "The last call that failed: the API answered 503 (user 7, record",
    ] {
        browser.until_text(line, words).await;
    }
    browser
        .until("document.querySelector('.card').hasAttribute('data-late')")
        .await;
    assert_eq!(
        browser.run("return document.title").await,
        "Now – user-courier",
        "the target itself works"
    );
    browser.click(".headline .probing a").await;
    browser.until("location.hash === '#user/valt/7'").await;
    browser.until_text(".sheet", "1 update").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn away_from_loopback_the_page_asks_to_sign_in_and_tells_nothing_before() {
    let mut bench = Bench::new().await;
    let token = bench.config_file().with_file_name("token");
    std::fs::write(&token, TOKEN).unwrap();
    bench.set("console.token_file", token.to_str().unwrap());
    let console = Service::console_at(&bench.config_file(), "0.0.0.0:0");
    let address = SocketAddr::from(([127, 0, 0, 1], console.address().port()));
    let hello = ask(
        address,
        "/api/hello",
        &[("Host", &address.to_string())],
        None,
    );
    for secret in ["127.0.0.1", "group"] {
        assert!(!hello.2.contains(secret), "{}", hello.2);
    }
    let browser = Browser::start().await;
    browser.open(&format!("http://{address}")).await;
    let closed = "document.querySelector('#parts').offsetHeight === 0 \
                  && document.querySelector('main h2').innerText === 'Sign in'";
    browser.until(closed).await;
    browser.keys(&format!("Olga\u{e004}{TOKEN}\u{e007}")).await;
    browser.until_text("#lock", "Sign out (Olga)").await;
    browser.until_text("#parts", "Dead letters").await;
    browser.click("#lock").await;
    browser.until(closed).await;
    assert_eq!(console.terminate().code, Some(0));
}
