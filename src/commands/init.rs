//! `user-courier init`: a configuration to begin with.

use clap::Args;

use crate::commands::{Exit, say};

const CONFIGURATION: &str = include_str!("../../config/user-courier.toml");

/// Prints a configuration with every key, its default and what it means.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  user-courier init > user-courier.toml\n  user-courier check --config user-courier.toml --offline"
)]
pub struct InitArgs {}

/// Runs the command.
pub fn run(_: &InitArgs) -> Exit {
    say(CONFIGURATION.trim_end());
    Exit::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_printed_has_no_mistakes_once_its_secrets_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("user-courier.toml");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "s3cret-and-long-enough").unwrap();
        let here =
            CONFIGURATION
                .lines()
                .map(|line| match line.split_once("_file = \"/run/secrets/") {
                    Some((key, _)) => format!("{key}_file = {secret:?}\n"),
                    None => format!("{line}\n"),
                });
        std::fs::write(&file, here.collect::<String>()).unwrap();
        let config = Config::load(&file, std::iter::empty(), &[]).unwrap();
        assert_eq!(config.warnings, [""; 0]);
        std::fs::remove_file(secret).unwrap();
        assert!(Config::load(&file, std::iter::empty(), &[]).is_err());
    }
}
