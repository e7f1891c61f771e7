//! Backoff: how long to wait before the next attempt. Time is a value here, nothing sleeps.

use std::time::Duration;

/// Exponential backoff between two bounds.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// Doubling from `initial` up to `max`; an `initial` above `max` is cut to it.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Backoff {
            initial: initial.min(max),
            max,
        }
    }

    /// The bound after `failures` failures in a row (1 is the first): `initial`, doubled for each
    /// further one.
    pub fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }

    /// A wait with full jitter: anywhere between nothing and the bound, so that users who failed
    /// together do not come back together.
    pub fn full_jitter(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        self.bound(failures).mul_f64(rng.f64())
    }

    /// A wait between half the bound and the bound: for probes, which must not come at once.
    pub fn half_jitter(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        self.bound(failures).mul_f64(0.5 + rng.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_bound_and_never_overflows() {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let bounds: Vec<_> = (1..=9).map(|n| backoff.bound(n).as_millis()).collect();
        assert_eq!(
            bounds,
            [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]
        );
        assert_eq!(backoff.bound(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_uses_them() {
        let backoff = Backoff::new(Duration::from_millis(1000), Duration::from_secs(30));
        let mut rng = fastrand::Rng::with_seed(7);
        let waits: Vec<_> = (0..1000)
            .map(|_| backoff.full_jitter(1, &mut rng))
            .collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(50)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(950)));
        let half: Vec<_> = (0..1000)
            .map(|_| backoff.half_jitter(1, &mut rng))
            .collect();
        assert!(
            half.iter()
                .all(|wait| (500..=1000).contains(&wait.as_millis()))
        );
    }
}
