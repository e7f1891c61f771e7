//! What holds for every API of the registry.

use serde_json::Map;
use serde_json::value::to_raw_value;

use super::*;

/// What a field may hold, and what it may not, as JSON.
fn values(kind: &Kind) -> (Vec<Value>, Vec<Value>) {
    match kind {
        Kind::Text => (
            ["", "x", "Zoë \u{202e}\"\\\n", "52"]
                .map(Value::from)
                .to_vec(),
            vec![json!(1), json!(true), json!(["x"]), json!({ "x": "x" })],
        ),
        Kind::Integer => (
            vec![
                json!(0),
                json!(-1),
                json!(i64::MAX),
                json!(i64::MIN),
                json!(52.0),
            ],
            vec![
                json!(u64::MAX),
                json!(0.5),
                json!("1"),
                json!(true),
                json!([1]),
            ],
        ),
        Kind::Boolean => (
            vec![json!(true), json!(false)],
            vec![json!(1), json!("true"), json!([true])],
        ),
        Kind::List { of, .. } => {
            let (good, bad) = values(of);
            let mut wrong: Vec<_> = bad.into_iter().map(|bad| json!([good[0], bad])).collect();
            wrong.extend([json!([null]), json!({}), json!("x"), json!(1)]);
            (
                vec![json!([]), json!(good), json!([good[0], good[0]])],
                wrong,
            )
        }
        Kind::Object(fields) => {
            let (mut good, mut bad) = (Vec::new(), vec![json!({}), json!([]), json!("x")]);
            for field in *fields {
                let (fits, wrong) = of_field(field);
                good.extend(fits.into_iter().map(|value| json!({ field.name: value })));
                bad.extend(wrong.into_iter().map(|value| json!({ field.name: value })));
            }
            let all: Map<_, _> = fields
                .iter()
                .map(|field| (field.name.to_owned(), values(&field.kind).0[0].clone()))
                .collect();
            bad.push(json!({ (fields[0].name): all[fields[0].name], "unheard_of": 1 }));
            good.push(Value::Object(all));
            (good, bad)
        }
    }
}

fn of_field(field: &Field) -> (Vec<Value>, Vec<Value>) {
    let (mut good, mut bad) = values(&field.kind);
    if field.removable { &mut good } else { &mut bad }.push(Value::Null);
    (good, bad)
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn user_of(api: &Api) -> Value {
    match api.id_form {
        IdForm::Number => json!(52),
        IdForm::Text => json!("a/b ü"),
    }
}

#[test]
fn names_are_unique() {
    for (index, api) in ALL.iter().enumerate() {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        assert!(api.name.bytes().all(is_plain), "{}", api.name);
        let others = || ALL[..index].iter();
        assert!(others().all(|other| other.name != api.name && other.title != api.title));
        let mut fields: Vec<_> = api.fields.iter().map(|field| field.name).collect();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields.len(), api.fields.len(), "{}", api.name);
    }
}

#[test]
fn decoder_and_schema_agree_on_every_field() {
    let schemas = &crate::schema::documents()["schemas/update-event.json"];
    let schemas = &schemas["properties"]["data"]["anyOf"];
    for (api, schema) in ALL.iter().zip(schemas.as_array().unwrap()) {
        let schema = jsonschema::validator_for(schema).unwrap();
        let check = |changes: Value, wanted: bool| {
            let data = json!({ "user": user_of(api), "changes": changes });
            let taken = api.validate(&raw(&changes)).is_ok();
            assert_eq!((taken, schema.is_valid(&data)), (wanted, wanted), "{data}");
        };
        let (good, bad) = values(&Kind::Object(api.fields));
        good.into_iter().for_each(|changes| check(changes, true));
        bad.into_iter().for_each(|changes| check(changes, false));
        for field in api.fields {
            let sample: Value = serde_json::from_str(field.sample).unwrap();
            check(json!({ field.name: sample }), true);
        }
    }
}

#[test]
fn decoder_and_schema_agree_on_every_id() {
    let schemas = &crate::schema::documents()["schemas/update-event.json"];
    let schemas = &schemas["properties"]["data"]["anyOf"];
    for (api, schema) in ALL.iter().zip(schemas.as_array().unwrap()) {
        let schema = jsonschema::validator_for(schema).unwrap();
        let (good, _) = values(&Kind::Object(api.fields));
        for user in [
            json!(1),
            json!(0),
            json!(-1),
            json!(52.0),
            json!(52.5),
            json!(i64::MAX),
            json!(u64::MAX),
            json!("52"),
            json!("0"),
            json!(""),
            json!("."),
            json!(".."),
            json!("a/b"),
            json!("é".repeat(256)),
            json!("é".repeat(257)),
            json!(null),
            json!(true),
            json!([1]),
        ] {
            let data = json!({ "user": user, "changes": good[0] });
            let taken = api.id_form.read(Some(&raw(&user))).is_ok();
            assert_eq!(taken, schema.is_valid(&data), "{}: {user}", api.name);
        }
    }
}

#[test]
fn every_secret_is_masked() {
    let mut found = 0;
    for &api in ALL {
        for field in api.fields.iter().filter(|field| field.secret) {
            found += 1;
            let changes = json!({ field.name: "a-Canary" });
            let valid = api.validate(&raw(&changes)).unwrap();
            assert_eq!(valid.secrets(), ["a-Canary"]);
            assert!(!format!("{valid:?}").contains("Canary"));
            // Before an API is known, the strict reader goes by the name.
            assert!(text::is_secret(field.name), "{}", field.name);
            for known in [Some(api), None] {
                let (_, data) = Known::event(known).member("data");
                let (_, changes) = data.member("changes");
                assert!(changes.member(field.name).0, "{}", field.name);
                assert!(changes.member(&field.name.to_uppercase()).0, "misspelt");
            }
        }
        let (_, data) = Known::event(Some(api)).member("data");
        let (_, changes) = data.member("changes");
        for field in api.fields.iter().filter(|field| !field.secret) {
            assert!(!changes.member(field.name).0, "{}", field.name);
        }
    }
    assert!(found > 1);
}

#[test]
fn merging_goes_by_how_a_field_is_replaced() {
    for &api in ALL {
        let valid =
            |name: &str, value: &Value| api.validate(&raw(&json!({ name: value }))).unwrap();
        for field in api.fields {
            let (good, _) = values(&field.kind);
            let [first, last] =
                [&good[0], &good[good.len() - 1]].map(|value| valid(field.name, value));
            let merges = match field.replaced {
                Replaced::Whole | Replaced::Members => true,
                Replaced::Remembered => false,
                // The last names every member.
                Replaced::Unknown => {
                    assert!(!api.may_merge(&last, &first), "{}", field.name);
                    true
                }
            };
            assert_eq!(api.may_merge(&first, &last), merges, "{}", field.name);
            if merges {
                let merged = Changes::merged([&first, &last]);
                assert_eq!(merged.body(), last.body(), "{}", field.name);
            }
            let others = api.fields.iter().filter(|other| other.name != field.name);
            for other in others {
                let other = valid(other.name, &values(&other.kind).0[0]);
                assert!(api.may_merge(&first, &other) && api.may_merge(&other, &first));
            }
        }
    }
}

#[test]
fn a_replay_may_leave_out_every_part() {
    for &api in ALL {
        for field in api.fields {
            for value in of_field(field).0 {
                let changes = json!({ field.name: value });
                let parts = api.parts(&raw(&changes));
                assert!(!parts.is_empty());
                assert_eq!(api.without(&changes.to_string(), &parts), "{}");
                assert_eq!(api.without(&changes.to_string(), &[]), changes.to_string());
                for part in &parts {
                    assert_eq!(field_of(part), field.name);
                    let left = api.without(&changes.to_string(), std::slice::from_ref(part));
                    let left: Box<RawValue> = serde_json::from_str(&left).unwrap();
                    assert_eq!(api.parts(&left).len(), parts.len() - 1, "{changes} {part}");
                    assert!(parts.len() == 1 || api.validate(&left).is_ok(), "{left}");
                }
            }
        }
    }
}

/// The fields as rows for people; those of an object below it.
fn rows_of(fields: &[Field], above: &str, rows: &mut String) {
    for field in fields {
        let kind = field.kind.words();
        let kind = kind
            .split_once(' ')
            .map_or(kind, |(article, rest)| match article {
                "a" | "an" => rest,
                _ => kind,
            });
        let null = if field.removable { " or `null`" } else { "" };
        let secret = if field.secret {
            " Secret: never shown."
        } else {
            ""
        };
        let replaced = match field.replaced {
            Replaced::Whole => "",
            Replaced::Remembered => " Never left out for a later value.",
            Replaced::Members => " A member that is not named stays.",
            Replaced::Unknown => " Whether a member that is not named stays is not documented.",
        };
        let (name, help) = (field.name, field.help);
        let row = format!("| {above}`{name}` | {kind}{null} | {help}{secret}{replaced} |\n");
        rows.push_str(&row);
        let above = format!("{above}`{name}` ");
        // Lists of the same items are told once.
        if !is_item(field) || !rows.contains("` `value` | string") {
            rows_of(field.members(), &above, rows);
        }
    }
}

fn is_item(field: &Field) -> bool {
    field
        .members()
        .first()
        .is_some_and(|first| first.name == "value")
        && field.members().len() > 1
}

fn fields_in_markdown() -> String {
    let mut text = String::from("<!-- fields -->\n");
    for &api in ALL {
        text.push_str(&format!(
            "\n**{}** (`api = \"{}\"`)\n\n",
            api.title, api.name
        ));
        text.push_str("| field | holds | |\n| --- | --- | --- |\n");
        let mut rows = String::new();
        rows_of(api.fields, "", &mut rows);
        text.push_str(&rows);
        if rows.contains("`null`") {
            text.push_str("\n`null` removes an attribute.\n");
        }
        if api.fields.iter().filter(|field| is_item(field)).count() > 1 {
            text.push_str(
                "\nThe items of the other lists have the members of those of `emails`.\n",
            );
        }
    }
    text.push_str("\n<!-- /fields -->");
    text
}

#[test]
fn the_documentation_is_printed_from_the_tables() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/integrate.md");
    let found = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = found.split_once("<!-- fields -->").unwrap();
    let (_, after) = rest.split_once("<!-- /fields -->").unwrap();
    let wanted = format!("{before}{}{after}", fields_in_markdown());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        let advice = "docs/integrate.md is out of date: run `UPDATE_DOCS=1 cargo test --lib api`";
        assert!(found == wanted, "{advice}");
    }
}

#[test]
fn every_api_has_a_stand_in_and_its_words_in_the_documentation() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).unwrap()
    };
    let (integrate, configuration) = (read("docs/integrate.md"), read("docs/configuration.md"));
    let stand_ins: Vec<_> = stand_in::names().collect();
    for &api in ALL {
        assert!(stand_ins.contains(&api.name), "{}", api.name);
        for field in api.fields {
            let named = |field: &Field| integrate.contains(&format!("`{}`", field.name));
            assert!(named(field), "docs/integrate.md: {}", field.name);
            for member in field.members() {
                assert!(named(member), "docs/integrate.md: {}", member.name);
            }
        }
        let mut keys = vec![format!("{}_file", api.access.token_key)];
        match &api.access.other {
            Other::None => {}
            Other::Login(account) => keys.push(account.username_key.to_owned()),
            Other::Client => keys.push("client_id".to_owned()),
        }
        for key in keys {
            assert!(configuration.contains(&format!("`{key}`")), "{key}");
        }
    }
}
