//! The mask: takes secret values out of an API's words, and cuts those to what an outcome may hold.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::model::error::ApiError;
use crate::model::text;

/// A secret with fewer characters cannot be masked: its characters occur in any text, and the rest
/// would reveal it.
const SHORTEST_MASKABLE: usize = 4;
/// Length in bytes of a secret's beginning that is masked if the rest of it was cut off.
const BEGINNING: usize = 8;

/// Takes `secrets` out of `error` and cuts it to 2 KiB of JSON.
///
/// Each secret is replaced by `***` wherever it occurs, in upper or lower case, as it is or encoded
/// as in JSON, HTML, a URL or Base64; so is its beginning, from 8 bytes on, if the API has cut it.
/// If one has fewer than 4 characters, the whole text is left out.
pub fn mask(error: ApiError, secrets: &[impl AsRef<str>]) -> ApiError {
    let secrets = || secrets.iter().map(AsRef::as_ref);
    if secrets().any(|secret: &str| secret.chars().count() < SHORTEST_MASKABLE) {
        return ApiError::new(
            "the API refused the update; its words are left out, as they could show a short secret value",
        );
    }
    let forms: Vec<String> = secrets().flat_map(forms).collect();
    let whole = |text: &str| {
        let found = forms
            .iter()
            .map(|form| common(text, form))
            .filter(|(_, whole)| *whole);
        found.map(|(length, _)| length).max().unwrap_or(0)
    };
    let beginning = |text: &str| {
        forms
            .iter()
            .map(|form| common(text, form).0)
            .max()
            .filter(|length| *length >= BEGINNING)
            .unwrap_or(0)
    };
    // Whole ones first: what looks like a beginning may overlap one.
    let clean = |text: &str| text::one_line(&without(&without(text, whole), beginning));
    let fields = error
        .fields
        .iter()
        .map(|(name, texts)| (clean(name), texts.iter().map(|text| clean(text)).collect()));
    ApiError {
        message: clean(&error.message),
        fields: fields.collect(),
    }
    .cut()
}

/// The ways in which an API may write the secret, in lower case.
fn forms(secret: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(secret).to_string();
    let json = quoted[1..quoted.len() - 1].to_owned();
    // PHP escapes more than JSON asks for.
    let php: String = json
        .replace('/', "\\/")
        .encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    let html = secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let base64 = [
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    let forms = [
        secret.to_owned(),
        json,
        php,
        html.replace('\'', "&#039;"),
        html.replace('\'', "&#39;"),
        url.replace('+', "%20"),
        url,
    ];
    forms
        .into_iter()
        .chain(base64)
        .map(|form| form.chars().map(fold).collect())
        .collect()
}

/// `text` with each place replaced at which `length` finds something to take out.
fn without(text: &str, length: impl Fn(&str) -> usize) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match length(rest) {
            0 => {
                masked.push(next);
                rest = &rest[next.len_utf8()..];
            }
            length => {
                masked.push_str("***");
                rest = &rest[length..];
            }
        }
    }
    masked
}

/// How many bytes of `text` begin as `form` does, and whether that is all of it.
fn common(text: &str, form: &str) -> (usize, bool) {
    let mut wanted = form.chars();
    let mut length = 0;
    for found in text.chars() {
        match wanted.next() {
            Some(wanted) if fold(found) == wanted => length += found.len_utf8(),
            Some(_) => return (length, false),
            None => return (length, true),
        }
    }
    (length, wanted.next().is_none())
}

/// The character in lower case. Of the few that become several characters, the first.
fn fold(character: char) -> char {
    character.to_lowercase().next().unwrap_or(character)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn masked(message: &str, secret: &str) -> String {
        mask(ApiError::new(message), &[secret]).message
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands() {
        let error = ApiError {
            message: "canary42 is no canary42!".into(),
            fields: BTreeMap::from([(
                "field.canary42".into(),
                vec!["say CANARY42".into(), "fine".into()],
            )]),
        };
        let error = mask(error, &["canary42"]);
        assert_eq!(error.message, "*** is no ***!");
        assert_eq!(
            error.fields,
            BTreeMap::from([("field.***".into(), vec!["say ***".into(), "fine".into()])])
        );
    }

    #[test]
    fn a_secret_is_masked_in_every_way_of_writing_it() {
        let secret = "pa/ss \"é<'&";
        for written in [
            "pa/ss \"é<'&",
            "pa/ss \\\"é<'&",
            "pa\\/ss \\\"\\u00e9<'&",
            "pa\\/ss \\\"\\u00E9<'&",
            "pa/ss &quot;é&lt;&#039;&amp;",
            "pa/ss &quot;é&lt;&#39;&amp;",
            "pa%2Fss+%22%C3%A9%3C%27%26",
            "pa%2fss%20%22%c3%a9%3c%27%26",
            "cGEvc3MgIsOpPCcm",
            "PA/SS \"É<'&",
        ] {
            assert_eq!(masked(&format!("<{written}>"), secret), "<***>");
        }
    }

    #[test]
    fn the_beginning_of_a_secret_that_was_cut_is_masked() {
        let secret = "correct-horse-bättery";
        for (said, masked_to) in [
            ("`correct-horse-bä…` is weak", "`***…` is weak"),
            ("CORRECT-H", "***"),
            ("correct-", "***"),
            ("correct", "correct"),
            ("correct-correct-horse-bättery!", "******!"),
            ("Y29ycmVjdC1ob3JzZS1iw6R0dG", "***"),
            ("correct-horse-b%C3%A4", "***"),
        ] {
            assert_eq!(masked(said, secret), masked_to, "{said}");
        }
        assert_eq!(
            masked("pass and passw", "passw"),
            "pass and ***",
            "a short one only as a whole"
        );
    }

    #[test]
    fn the_longer_of_two_secrets_goes_first() {
        let error = mask(ApiError::new("abcdefgh and abcd"), &["abcd", "abcdefgh"]);
        assert_eq!(error.message, "*** and ***");
    }

    #[test]
    fn a_short_secret_silences_the_api() {
        for secret in ["", "7", "123", "äöü"] {
            let error = ApiError {
                message: "card 123 äöü is taken".into(),
                fields: BTreeMap::from([("card_number".into(), vec!["7 is short".into()])]),
            };
            let error = mask(error, &["long enough", secret]);
            assert!(error.fields.is_empty());
            assert!(
                error
                    .message
                    .starts_with("the API refused the update; its words are left out"),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn a_secret_at_the_cut_is_gone_before_the_cut() {
        for start in 480..520 {
            let message = format!("{}canary-canary{}", "x".repeat(start), "y".repeat(5000));
            let masked = masked(&message, "canary-canary");
            assert!(!masked.contains('c'), "{masked}");
        }
    }

    #[test]
    fn an_api_cannot_forge_a_line() {
        assert_eq!(
            masked("a\r\nERROR \u{1b}[31mb", "secret"),
            "a  ERROR  [31mb"
        );
    }
}
