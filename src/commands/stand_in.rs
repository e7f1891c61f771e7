//! `user-courier stand-in`: the APIs as local servers for development and tests.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, ArgGroup, ArgMatches, Args, Command, FromArgMatches, value_parser};
use stand_in::StandIn;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::say;

const EXAMPLES: &str = "\
Examples:
  user-courier stand-in --aipix 127.0.0.1:8081 --valt 127.0.0.1:8082
  user-courier stand-in --scim 127.0.0.1:8083

Then, on either port (see docs/stand-in.md for all pages and faults):
  the next three calls for user 52 are answered with 503:
    curl http://127.0.0.1:8081/_stand-in/faults \\
      -d '{\"user\":52,\"status\":503,\"times\":3}'
  a tenth of all calls hang until the client gives up:
    curl http://127.0.0.1:8081/_stand-in/faults \\
      -d '{\"fault\":\"hang\",\"probability\":0.1}'
  everything works again:
    curl -X DELETE http://127.0.0.1:8081/_stand-in/faults
  all tokens become invalid:
    curl -X POST http://127.0.0.1:8081/_stand-in/token/expire
  the port is closed for five seconds:
    curl http://127.0.0.1:8081/_stand-in/port \\
      -d '{\"closed_for\":\"5s\"}'
  every call takes 20 ms, and more than 100 a second get 429:
    curl -X PATCH http://127.0.0.1:8081/_stand-in/settings \\
      -d '{\"latency\":\"20ms\",\"rate_limit\":100}'
  what was called, and what each user has now:
    curl http://127.0.0.1:8081/_stand-in/journal
    curl http://127.0.0.1:8081/_stand-in/state?user=52";

/// Plays the APIs as local servers, with the documented behaviour and faults on command
///
/// For development and tests only: it takes any user's update and shows everything it was sent,
/// passwords included, to whoever can reach the port.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct StandInArgs {
    #[command(flatten)]
    addresses: Addresses,
    /// The account that may log in
    #[arg(long, value_name = "NAME", default_value = "courier")]
    username: String,
    /// Its password
    #[arg(
        long,
        value_name = "PASSWORD",
        default_value = "courier",
        hide_default_value = true
    )]
    password: String,
    /// A token that is valid from the start, besides those that a login gives out
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// How long every call takes at least, such as 20ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// Updates a second before the rest gets 429; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate_limit: u32,
    /// How many calls the journal remembers; 0 switches it off
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    journal: usize,
}

/// The addresses of those APIs that are to be played: a flag for each that the stand-ins know.
struct Addresses(Vec<(&'static str, SocketAddr)>);

impl Args for Addresses {
    fn augment_args(command: Command) -> Command {
        let flag = |name| {
            let help = format!("Plays the API `{name}` on this address");
            Arg::new(name)
                .long(name)
                .value_name("ADDR")
                .value_parser(value_parser!(SocketAddr))
                .help(help)
        };
        let one_or_more = ArgGroup::new("apis")
            .args(stand_in::names())
            .required(true)
            .multiple(true);
        command.args(stand_in::names().map(flag)).group(one_or_more)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Addresses {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = stand_in::names().filter_map(|name| Some((name, *matches.get_one(name)?)));
        Ok(Addresses(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs until SIGTERM or SIGINT. Fails if an address cannot be listened on.
pub async fn run(args: StandInArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut running = Vec::new();
    for (name, address) in args.addresses.0 {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address} for --{name}: choose another address")
        })?;
        let stand_in = StandIn::spawn(listener, name)?;
        stand_in.set(|settings| {
            settings.username.clone_from(&args.username);
            settings.password.clone_from(&args.password);
            settings.latency = args.latency;
            settings.rate_limit = args.rate_limit;
            settings.journal_size = args.journal;
        });
        if let Some(token) = &args.token {
            stand_in.accept_token(token);
        }
        let url = stand_in.base_url();
        say(format_args!("{name} listens on {url}"));
        say(format_args!(
            "  a fault: curl {url}/_stand-in/faults \\
      -d '{{\"user\":52,\"status\":503,\"times\":3}}'"
        ));
        say(format_args!("  the rest: curl {url}/_stand-in"));
        running.push(stand_in);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "write it as 250ms, 5s or 2m".to_owned())?;
    duration
        .try_into()
        .map_err(|_| "a duration is not negative".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StandInArgs,
    }

    #[test]
    fn one_api_is_enough_and_none_is_too_little() {
        let line = |words: &[&str]| Line::try_parse_from([&["stand-in"], words].concat());
        let args = line(&["--valt", "127.0.0.1:0", "--latency", "20ms"])
            .unwrap()
            .args;
        assert_eq!(
            (args.addresses.0, args.latency),
            (
                vec![("valt", "127.0.0.1:0".parse().unwrap())],
                Duration::from_millis(20)
            )
        );
        assert!(line(&["--aipix", "127.0.0.1:0", "--valt", "127.0.0.1:0"]).is_ok());
        assert!(line(&[]).is_err());
        for wrong in ["-1s", "20", "soon"] {
            assert!(
                line(&["--valt", "127.0.0.1:0", "--latency", wrong]).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn every_api_has_a_stand_in() {
        for api in crate::api::ALL {
            assert!(
                stand_in::names().any(|name| name == api.name),
                "{}",
                api.name
            );
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let args = Line::try_parse_from(["stand-in", "--valt", &address])
            .unwrap()
            .args;
        let error = run(args).await.unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
