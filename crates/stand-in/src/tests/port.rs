//! The port: closed and opened again, and gone with the handle.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::Method;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{bare, control, rest, stand_in, update};
use crate::Fault;
use crate::Rule;

#[tokio::test]
async fn a_closed_port_refuses_and_cuts_and_opens_again_where_it_was() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::Hang).times(1));
    let mut hanging = bare(&valt).await;
    valt.wait_for(|stats| stats.in_flight == 1).await;
    valt.close_port().await;
    assert_eq!(
        hanging.read(&mut [0]).await.map_or(0, |read| read),
        0,
        "the connection was cut"
    );
    assert_eq!(valt.stats().in_flight, 0);
    let refused = TcpStream::connect(valt.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    valt.open_port().await;
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
    assert_eq!(valt.stats().updates, 2, "what it knew it still knows");
}

#[tokio::test]
async fn a_port_closed_for_a_time_opens_by_itself() {
    let valt = stand_in("valt").await;
    assert_eq!(
        control(&valt, Method::POST, "/port", r#"{"closed_for":"300ms"}"#)
            .await
            .status,
        200
    );
    // The answer comes before the port closes, so the refusal has to be waited for, and so has its
    // end.
    let connects = async || TcpStream::connect(valt.addr()).await.is_ok();
    while connects().await {
        tokio::task::yield_now().await;
    }
    while !connects().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
    valt.close_port_for(Duration::from_secs(3600)).await;
    assert!(!connects().await);
    valt.open_port().await;
    assert!(connects().await);
}

#[tokio::test]
async fn opening_an_open_port_changes_nothing() {
    let valt = stand_in("valt").await;
    valt.open_port().await;
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_port_and_the_connections_go_with_the_handle() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::Hang));
    let mut hanging = bare(&valt).await;
    valt.wait_for(|stats| stats.in_flight == 1).await;
    let address = valt.addr();
    drop(valt);
    assert_eq!(rest(&mut hanging).await.unwrap_or_default(), "");
    assert!(TcpStream::connect(address).await.is_err());
}
