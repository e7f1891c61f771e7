//! Wrong targets, credentials and routes, and the very lines that they are answered with.

use super::*;

#[test]
fn targets_are_checked() {
    let name = "a target's name has 1 to 100 letters, digits, `.`, `_` or `-`: it becomes part of a Kafka group id and a metric's label";
    check_replaced(&[
        (
            "targets.aipix",
            "targets.unclaimed",
            "3:10: targets.unclaimed: is reserved for what no target claims: choose another name",
        ),
        (
            "targets.aipix",
            "targets.\"a b\"",
            &format!("3:10: targets.\"a b\": {name}"),
        ),
        (
            "targets.aipix",
            "targets.\"\"",
            &format!("3:10: targets.\"\": {name}"),
        ),
        (
            "api = \"aipix\"",
            "",
            "3:10: targets.aipix.api: is required: one of APIS",
        ),
        (
            "api = \"aipix\"",
            "api = \"ldap\"",
            "4:1: targets.aipix.api: `ldap` is not one of APIS",
        ),
        (
            "base_url",
            "# base_url",
            "3:10: targets.aipix.base_url: is required: where the API answers, such as \"https://vms.example.com\"",
        ),
        (
            "https://vms",
            "vms",
            "5:1: targets.aipix.base_url: is not a URL such as \"https://vms.example.com\": relative URL without a base",
        ),
        (
            "https://vms",
            "file://vms",
            "5:1: targets.aipix.base_url: must begin with https:// or http://",
        ),
        (
            "https://vms",
            "https://me:hunter2@vms",
            "5:1: targets.aipix.base_url: must not hold a user name or a password: they have keys of their own",
        ),
        (
            ".com",
            ".com/?access_token=hunter2",
            "5:1: targets.aipix.base_url: must not have a query (?) or a fragment (#)",
        ),
        (
            ".com",
            ".com/#x",
            "5:1: targets.aipix.base_url: must not have a query (?) or a fragment (#)",
        ),
    ]);
    check_added(&[
        (
            "tls.ca_file = \"DIR/missing\"\n",
            &[
                "7:5: targets.aipix.tls.ca_file: the file DIR/missing cannot be read: No such file or directory (os error 2)",
            ],
        ),
        (
            "tls.ca_file = \"DIR/token\"\n",
            &["7:5: targets.aipix.tls.ca_file: the file holds nothing of this kind in PEM form"],
        ),
        (
            "tls.client_cert_file = \"missing\"\n",
            &[
                "7:5: targets.aipix.tls.client_cert_file: the file cannot be read (its path is relative to the working directory): No such file or directory (os error 2)",
                "7:5: targets.aipix.tls.client_cert_file: needs client_key_file beside it",
            ],
        ),
        (
            "tls.client_key_file = \"DIR/password\"\n",
            &[
                "7:5: targets.aipix.tls.client_key_file: the file holds nothing of this kind in PEM form",
                "7:5: targets.aipix.tls.client_key_file: needs client_cert_file beside it",
            ],
        ),
    ]);
    let plain_http = LEAST.replace("https://vms.example.com", "http://127.0.0.1:8080");
    check(&plain_http, &[]);
    check(
        &format!("{plain_http}tls.ca_file = \"DIR/token\"\n"),
        &[
            "7:1: targets.aipix.tls: contradicts an http:// base_url: use https:// or remove this section",
            "7:5: targets.aipix.tls.ca_file: the file holds nothing of this kind in PEM form",
        ],
    );
}

#[test]
fn credentials_are_checked() {
    let advice = "a secret is never written in the configuration: name a file in";
    check_replaced(&[
        (
            "token_file = \"DIR/token\"",
            "",
            "3:10: targets.aipix.token_file: credentials are required: `token_file` or `token_env`, or `login` with `password_file` or `password_env`",
        ),
        (
            "token_file = \"DIR/token\"",
            "token = \"hunter2\"",
            &format!(
                "6:1: targets.aipix.token: {advice} `token_file` or an environment variable in `token_env`"
            ),
        ),
        (
            "token_file = \"DIR/token\"",
            "login = \"x\"\npassword = \"hunter2\"",
            &format!(
                "7:1: targets.aipix.password: {advice} `password_file` or an environment variable in `password_env`"
            ),
        ),
        (
            "token_file = \"DIR/token\"",
            "login = \"x\"",
            "3:10: targets.aipix.password_file: is required beside `login` (or `password_env`)",
        ),
        (
            "token_file = \"DIR/token\"",
            "password_file = \"DIR/password\"",
            "3:10: targets.aipix.login: is required beside `password_file`",
        ),
        (
            "DIR/token",
            "DIR",
            "6:1: targets.aipix.token_file: the file DIR cannot be read: Is a directory (os error 21)",
        ),
        (
            "DIR/token",
            "DIR/binary",
            "6:1: targets.aipix.token_file: the file is not UTF-8 text",
        ),
        (
            "DIR/token",
            "DIR/empty",
            "6:1: targets.aipix.token_file: the file is empty: put the secret into it",
        ),
        (
            "DIR/token",
            "hunter2",
            "6:1: targets.aipix.token_file: the file cannot be read (its path is relative to the working directory): No such file or directory (os error 2)",
        ),
        (
            "token_file = \"DIR/token\"",
            "token_env = \"EMPTY\"",
            "6:1: targets.aipix.token_env: the environment variable EMPTY is not set or empty",
        ),
        (
            "token_file = \"DIR/token\"",
            "token_env = \"hunter2\"",
            "6:1: targets.aipix.token_env: there is no environment variable of this name, or it is empty",
        ),
        (
            "[kafka]",
            "targets.v = { api = \"valt\", base_url = \"https://v\" }\n[kafka]",
            "1:9: targets.v.access_token_file: credentials are required: `access_token_file` or `access_token_env`, or `username` with `password_file` or `password_env`",
        ),
    ]);
    check_added(&[
        (
            "token_env = \"SET\"\n",
            &[
                "7:1: targets.aipix.token_env: `token_file` was set too, at DIR/config.toml:6:1: keep one of the two",
            ],
        ),
        (
            "login = \"x\"\npassword_env = \"SET\"\n",
            &[
                "6:1: targets.aipix.token_file: `token_file` and `login` with a password are two ways in: keep one of them",
            ],
        ),
        (
            "username = \"x\"\n",
            &[
                "7:1: targets.aipix.username: unknown key; the nearest known one is `login`, as this API calls it",
            ],
        ),
    ]);
}

#[test]
fn a_proxy_and_its_account_are_checked() {
    let proxy = "proxy = \"http://proxy:3128\"\n";
    check(&format!("{LEAST}{proxy}"), &[]);
    let account = "proxy_user = \"x\"\nproxy_password_file = \"DIR/password\"\n";
    let fixture = Fixture::new();
    let config = fixture.load(&format!("{LEAST}{proxy}{account}"), &[], &[]);
    let target = &config.unwrap().targets[0];
    let file = fixture.0.path().join("password");
    assert_eq!(target.files().collect::<Vec<_>>(), [&file]);
    let shown = format!("{target:?}");
    assert!(
        shown.contains("proxy") && !shown.contains("p4ssword"),
        "{shown}"
    );
    let with_colon = "proxy_user = \"a:b\"\nproxy_password_env = \"SET\"\n";
    check_added(&[
        (
            "proxy = \"https://proxy:3128\"\n",
            &[
                "7:1: targets.aipix.proxy: must begin with http://: the proxy itself is spoken to without TLS",
            ],
        ),
        (
            "proxy = \"http://me:hunter2@proxy:3128\"\n",
            &[
                "7:1: targets.aipix.proxy: must not hold a user name or a password: they have keys of their own",
            ],
        ),
        (
            "proxy = \"http://proxy:3128/path\"\n",
            &["7:1: targets.aipix.proxy: must not have a path"],
        ),
        (
            account,
            &["3:10: targets.aipix.proxy: is required beside `proxy_password_file`"],
        ),
        (
            &format!("{proxy}proxy_user = \"x\"\n"),
            &[
                "3:10: targets.aipix.proxy_password_file: is required beside `proxy_user` (or `proxy_password_env`)",
            ],
        ),
        (
            &format!("{proxy}proxy_password_env = \"SET\"\n"),
            &["3:10: targets.aipix.proxy_user: is required beside `proxy_password_env`"],
        ),
        (
            &format!("{proxy}{with_colon}"),
            &[
                "8:1: targets.aipix.proxy_user: must not be empty or hold a colon, which stands before the password",
            ],
        ),
        (
            &format!("{proxy}proxy_password = \"hunter2\"\n"),
            &[
                "8:1: targets.aipix.proxy_password: a secret is never written in the configuration: name a file in `proxy_password_file` or an environment variable in `proxy_password_env`",
            ],
        ),
    ]);
}

#[test]
fn the_credentials_of_a_client_are_checked() {
    let scim = LEAST.replace("api = \"aipix\"", "api = \"scim\"");
    check(&scim, &[]);
    let none = scim.replace("token_file = \"DIR/token\"\n", "");
    let with = |keys: &str| format!("{none}{keys}");
    let client = "client_id = \"courier\"\nclient_secret_file = \"DIR/password\"\n";
    let url = "token_url = \"https://id.example.com/token\"\n";
    check(&with(&format!("{client}{url}")), &[]);
    check(&with(&format!("{client}{url}scope = \"users\"\n")), &[]);
    for (keys, mistakes) in [
        (
            String::new(),
            &[
                "3:10: targets.aipix.token_file: credentials are required: `token_file` or `token_env`, or `client_id` with `client_secret_file` or `client_secret_env`",
            ][..],
        ),
        (
            client.to_owned(),
            &[
                "3:10: targets.aipix.token_url: is required beside `client_id`: where tokens are given out",
            ],
        ),
        (
            format!("client_id = \"courier\"\n{url}"),
            &[
                "3:10: targets.aipix.client_secret_file: is required beside `client_id` (or `client_secret_env`)",
            ],
        ),
        (
            format!("{client}token_url = \"https://me:hunter2@id\"\n"),
            &[
                "8:1: targets.aipix.token_url: must not hold a user name or a password: they have keys of their own",
            ],
        ),
        (
            "token_file = \"DIR/token\"\nscope = \"users\"\n".to_owned(),
            &["7:1: targets.aipix.scope: is of no use without `client_id`"],
        ),
        (
            "token_file = \"DIR/token\"\nusername = \"x\"\n".to_owned(),
            &[
                "7:1: targets.aipix.username: unknown key; the nearest known one is `client_id`, as this API calls it",
            ],
        ),
        (
            "access_token_file = \"DIR/token\"\n".to_owned(),
            &[
                "3:10: targets.aipix.token_file: credentials are required: `token_file` or `token_env`, or `client_id` with `client_secret_file` or `client_secret_env`",
                "6:1: targets.aipix.access_token_file: unknown key; the nearest known one is `token_file`, as this API calls it",
            ],
        ),
    ] {
        check(&with(&keys), mistakes);
    }
}

#[test]
fn routes_are_checked() {
    check_added(&[
        (
            "[[routes]]\nsource = \"a\"\ntarget = \"aipx\"\n",
            &["9:1: routes[0].target: there is no target `aipx`; the nearest is `aipix`"],
        ),
        (
            "[[routes]]\nsource = \"a\"\ntarget = \"unclaimed\"\n",
            &["9:1: routes[0].target: there is no target `unclaimed`; the nearest is `aipix`"],
        ),
        (
            "[[routes]]\ntarget = \"aipix\"\n",
            &[
                "7:1: routes[0].source: a route needs `source` or `type` or both: \"*\" fits everything",
            ],
        ),
        (
            "[[routes]]\ntype = \"a[\"\ntarget = \"aipix\"\n",
            &["8:1: routes[0].type: `a[` is not a glob: unclosed character class; missing ']'"],
        ),
        (
            "[[routes]]\ntype = \"a\"\n",
            &["7:1: routes[0].target: is required: the name of a target"],
        ),
        (
            "[[routes]]\ntype = \"a\"\nsorce = \"b\"\ntarget = \"a\\nb\"\n",
            &[
                "9:1: routes[0].sorce: unknown key; the nearest known one is `source` (known here: source, type, target)",
                "10:1: routes[0].target: there is no target `a\\nb`; the nearest is `aipix`",
            ],
        ),
        (
            "[routes]\nsource = \"a\"\n",
            &["7:2: routes: is a table and should be an array of tables: [[routes]]"],
        ),
    ]);
}
