//! Renewal: passwords and certificates that a client reads once, when it is made. If their files
//! change, a subscriber replaces its clients.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config::secret_file::Stamp;
use crate::config::{Kafka, Target};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The files that a subscriber's clients are made of.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    /// Their stamps when the clients were made, or when a change was last reported.
    known: Vec<Stamp>,
}

impl Files {
    /// Those of Kafka's clients, and of the target's TLS and proxy, as they are now: to be called
    /// before the clients are made. A target's password or token is none of them, since its session
    /// reads that itself.
    pub fn of(kafka: &Kafka, target: Option<&Target>) -> Self {
        let kafkas = kafka.consumer.files().chain(kafka.producer.files());
        let targets = target.into_iter().flat_map(Target::files);
        Files::at(kafkas.chain(targets).map(ToOwned::to_owned).collect())
    }

    fn at(paths: Vec<PathBuf>) -> Self {
        let known = stamps(&paths);
        Files { paths, known }
    }

    /// Waits until a file has changed, all are there, and nothing has changed any more between two
    /// looks: a certificate and its key are written one after the other.
    pub async fn changed(&mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = self.known.clone();
        loop {
            looks.tick().await;
            let now = stamps(&self.paths);
            if now == last && now != self.known && now.iter().all(Stamp::is_there) {
                self.known = now;
                return;
            }
            last = now;
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    paths.iter().map(|path| Stamp::of(path)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use futures::FutureExt;

    use super::*;
    use crate::config::secret_file::Secret;
    use crate::config::{ClientCertificate, Properties, PropertyValue, Tls};

    #[test]
    fn the_files_are_those_that_a_client_reads_when_it_is_made() {
        let plain = |text: &str| PropertyValue::Plain(text.to_owned());
        let properties = Properties(
            [
                ("linger.ms", plain("5")),
                (
                    "sasl.password",
                    PropertyValue::Secret(Secret::File("/password".into())),
                ),
                ("ssl.ca.location", plain("probe")),
                ("ssl.key.location", plain("/key")),
                (
                    "ssl.key.password",
                    PropertyValue::Secret(Secret::Env("KEY_PASSWORD".to_owned())),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        );
        assert_eq!(
            properties.files().collect::<Vec<_>>(),
            [Path::new("/password"), Path::new("/key")]
        );
        let ours = ClientCertificate {
            cert_file: "/our-cert".into(),
            key_file: "/our-key".into(),
        };
        let tls = Tls {
            ca_file: Some("/ca".into()),
            client_certificate: Some(ours),
        };
        assert_eq!(
            tls.files().collect::<Vec<_>>(),
            ["/ca", "/our-cert", "/our-key"].map(Path::new)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_once_all_files_are_there_and_at_rest() {
        let folder = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name));
        for path in [&cert, &key] {
            fs::write(path, "old").unwrap();
        }
        let mut files = Files::at(vec![cert.clone(), key.clone()]);
        let mut changed = Box::pin(files.changed());
        let mut look = async || {
            tokio::time::advance(LOOK).await;
            changed.as_mut().now_or_never().is_some()
        };
        assert!(!look().await && !look().await, "nothing has changed");
        fs::write(&cert, "new one").unwrap();
        fs::remove_file(&key).unwrap();
        assert!(!look().await && !look().await, "the key is missing");
        fs::write(&key, "new one").unwrap();
        assert!(!look().await, "it may still be written");
        assert!(look().await);
    }
}
