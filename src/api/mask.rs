//! The mask: takes secret values out of an API's words, and cuts those to what an outcome may hold.

use super::ApiError;

/// A secret with fewer characters cannot be masked: its like stands in any text, and what is left would show it.
const SHORTEST_MASKABLE: usize = 4;

/// Takes `secrets` out of `error` and cuts it to 2 KiB of JSON.
///
/// Each secret is replaced by `***` wherever it stands, in upper or lower case, as it is or in the way JSON, HTML or a
/// URL write it. Where one has fewer than 4 characters, all the words are left out.
pub fn mask(error: ApiError, secrets: &[&str]) -> ApiError {
    if secrets.iter().any(|secret| secret.chars().count() < SHORTEST_MASKABLE) {
        return ApiError::new("the API refused the update; its words are left out, as they could show a short secret value");
    }
    let mut forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
    // A secret may be a part of another one: the longer goes first.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    let clean = |text: &str| one_line(&forms.iter().fold(text.to_owned(), |text, form| without(&text, form)));
    let fields = error.fields.iter().map(|(name, texts)| (clean(name), texts.iter().map(|text| clean(text)).collect()));
    ApiError { message: clean(&error.message), fields: fields.collect() }.cut()
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
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let forms = [secret.to_owned(), json, php, html.replace('\'', "&#039;"), html.replace('\'', "&#39;"), url.replace('+', "%20"), url];
    forms.map(|form| form.to_ascii_lowercase()).to_vec()
}

/// `text` with each place of `form` replaced, whatever the case of its ASCII letters.
fn without(text: &str, form: &str) -> String {
    // Lower case of ASCII keeps every place where it was.
    let lower = text.to_ascii_lowercase();
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for (place, found) in lower.match_indices(form) {
        masked.push_str(&text[from..place]);
        masked.push_str("***");
        from = place + found.len();
    }
    masked.push_str(&text[from..]);
    masked
}

/// No line of a log can be forged by what an API says.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
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
            fields: BTreeMap::from([("field.canary42".into(), vec!["say CANARY42".into(), "fine".into()])]),
        };
        let error = mask(error, &["canary42"]);
        assert_eq!(error.message, "*** is no ***!");
        assert_eq!(error.fields, BTreeMap::from([("field.***".into(), vec!["say ***".into(), "fine".into()])]));
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
        ] {
            assert_eq!(masked(&format!("<{written}>"), secret), "<***>");
        }
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
            assert!(error.message.starts_with("the API refused the update; its words are left out"), "{}", error.message);
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
        assert_eq!(masked("a\r\nERROR \u{1b}[31mb", "secret"), "a  ERROR  [31mb");
    }
}
