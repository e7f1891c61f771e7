//! OAuth 2.0 client credentials (RFC 6749, 4.4): how a client asks an authorization server for a
//! token, for any API that takes such.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded::Serializer;

use crate::api::judge::{self, judge_login};
use crate::api::{Answer, JSON, Login, Request, TokenPlace, without_scheme};

const FORM: &str = "application/x-www-form-urlencoded";

/// A token that lasts for less is asked for as often as this all the same.
const SHORTEST: Duration = Duration::from_secs(1);
/// One that lasts for longer is renewed after this.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The request for a token, at the token URL itself.
pub(crate) fn request(client_id: &str, secret: &SecretString, scope: Option<&str>) -> Request {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials")
        .append_pair("client_id", client_id)
        .append_pair("client_secret", secret.expose_secret());
    if let Some(scope) = scope {
        form.append_pair("scope", scope);
    }
    Request {
        method: hyper::Method::POST,
        path: String::new(),
        token: TokenPlace::None,
        content_type: FORM,
        accept: JSON,
        body: form.finish().into(),
    }
}

/// Judges the answer. The token is renewed at nine tenths of its life.
pub(crate) fn judge(answer: &Answer) -> Login {
    judge_login(answer, |body| {
        let token = body.get("access_token");
        let lifetime = judge::number(&body.get("expires_in")).map(Duration::from_secs);
        let renew_after = lifetime.map(|lifetime| (lifetime.min(LONGEST) * 9 / 10).max(SHORTEST));
        Some((without_scheme(judge::text(&token)?).into(), renew_after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_in_a_form() {
        let secret = SecretString::from("a&b=c é");
        let body = |scope| String::from_utf8(request("co urier", &secret, scope).body.into());
        let asked =
            "grant_type=client_credentials&client_id=co+urier&client_secret=a%26b%3Dc+%C3%A9";
        assert_eq!(body(None).unwrap(), asked);
        assert_eq!(body(Some("a b")).unwrap(), format!("{asked}&scope=a+b"));
    }

    #[test]
    fn a_token_is_renewed_at_nine_tenths_of_its_life() {
        let judged = |status, body: &str| match judge(&Answer {
            status,
            body: body.into(),
            ..Answer::default()
        }) {
            Login::Token { token, renew_after } => {
                let after = renew_after.map(|after| after.as_secs_f32());
                format!("{} {after:?}", token.expose_secret())
            }
            Login::Refused => "refused".to_owned(),
            Login::Failed(judgement) => judgement.verdict.as_str().to_owned(),
        };
        for (status, body, expected) in [
            (
                200,
                r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#,
                "t Some(3240.0)",
            ),
            (
                200,
                r#"{"access_token":"t","expires_in":"3600"}"#,
                "t Some(3240.0)",
            ),
            (200, r#"{"access_token":"t","expires_in":0}"#, "t Some(1.0)"),
            (
                200,
                r#"{"access_token":"t","expires_in":9223372036854775807}"#,
                "t Some(2332800.0)",
            ),
            (200, r#"{"access_token":"t"}"#, "t None"),
            (200, r#"{"access_token":""}"#, "fault"),
            (200, "<html>", "fault"),
            (400, r#"{"error":"invalid_client"}"#, "refused"),
            (401, "", "refused"),
            (404, "", "fault"),
            (503, "", "retry"),
        ] {
            assert_eq!(judged(status, body), expected, "{status} {body}");
        }
    }
}
