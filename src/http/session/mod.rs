//! A session: the token for one target, from a file or from a login, renewed and replaced as
//! needed.
//!
//! All callers of a target share one session. They wait in one line for a token, so however many
//! need a new one, one login is made for them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::api::{self, JudgeLogin, Login, oauth, without_scheme};
use crate::config::secret_file::{Secret, Stamp};
use crate::config::{Client, Credentials, Proxy, Tls};
use crate::http::client::Http;
use crate::model::error::ApiError;
use engine::verdict::Verdict;

/// After a first refused login the next one waits this long, then twice as long each time,
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a login that failed otherwise. The target itself is held by then; this only keeps those
/// apart who wait in line.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// How long a secret that was seen unchanged is taken to be so: a look at the file costs a good
/// part of what a call costs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A token, and which one of the session's it is.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub secret: SecretString,
    number: u64,
}

/// No token could be had.
#[derive(Clone, Debug)]
pub struct NoToken {
    /// How that is judged.
    pub verdict: Verdict,
    /// Why, in our own words.
    pub error: ApiError,
}

/// Told how each login ended: `ok`, `refused` or `failed`.
pub type OnLogin = Box<dyn Fn(&'static str) + Send + Sync>;

/// The token of one target.
pub struct Session {
    /// To whoever gives out tokens.
    http: Http,
    credentials: Credentials,
    on_login: OnLogin,
    state: tokio::sync::Mutex<SessionState>,
    last_read: Mutex<Option<LastRead>>,
}

/// The secret as it was last read.
struct LastRead {
    stamp: Stamp,
    /// When it was seen to be still the same, if that is what was seen last.
    same_at: Option<Instant>,
}

#[derive(Default)]
struct SessionState {
    token: Option<Token>,
    renew_at: Option<Instant>,
    count: u64,
    refusals: u32,
    pause: Option<Pause>,
}

/// Why and until when there is no login.
struct Pause {
    until: Instant,
    /// The credentials were refused: other ones end the pause.
    refused: bool,
    why: NoToken,
}

impl Session {
    /// A session without a token yet; it is fetched when first asked for: of the API that `http`
    /// calls, or of an authorization server with the same certificates,
    /// and through the same proxy.
    ///
    /// # Errors
    /// If a TLS file cannot be used.
    pub fn new(
        http: &Http,
        tls: &Tls,
        proxy: Option<&Proxy>,
        request_timeout: Duration,
        credentials: Credentials,
        on_login: OnLogin,
    ) -> anyhow::Result<Self> {
        let http = match &credentials {
            Credentials::Token(_) | Credentials::Login { .. } => http.clone(),
            Credentials::Client(client) => {
                Http::new(&client.token_url, tls, proxy, request_timeout)?
            }
        };
        Ok(Session {
            http,
            credentials,
            on_login,
            state: Default::default(),
            last_read: Default::default(),
        })
    }

    /// The current token, after a login of at most `timeout` if one is due.
    ///
    /// # Errors
    /// If there is none: a secret that cannot be read or a refused login is
    /// [`Verdict::Unauthorized`], a failed login is judged like a call.
    pub async fn token(&self, timeout: Duration) -> Result<Token, NoToken> {
        let mut state = self.state.lock().await;
        match &self.credentials {
            Credentials::Token(secret) => self.fixed(&mut state, secret),
            Credentials::Login { .. } | Credentials::Client(_) => {
                self.logged_in(&mut state, timeout).await
            }
        }
    }

    /// Another token than the one that was refused with 401. If many callers ask at once, only the
    /// first causes a login.
    ///
    /// # Errors
    /// As [`Session::token`], and if a fixed token is still the same.
    pub async fn replace(&self, refused: &Token, timeout: Duration) -> Result<Token, NoToken> {
        let mut state = self.state.lock().await;
        let is_current = state
            .token
            .as_ref()
            .is_some_and(|token| token.number == refused.number);
        match &self.credentials {
            Credentials::Token(secret) => {
                // Read again even if the stamp is the same: it may be too coarse to tell.
                *self.last_read() = None;
                let token = self.fixed(&mut state, secret)?;
                if token.number == refused.number {
                    return Err(unauthorized(format!(
                        "the API refused the token (401): put a valid one into {secret}"
                    )));
                }
                Ok(token)
            }
            Credentials::Login { .. } | Credentials::Client(_) => {
                if is_current {
                    state.token = None;
                    // The pause of a renewal that could wait is over; that of a refused login is
                    // not.
                    state.pause.take_if(|pause| !pause.refused);
                }
                self.logged_in(&mut state, timeout).await
            }
        }
    }

    /// Whether the secret has changed since it was last read, so that trying again at once makes
    /// sense. Cheap.
    pub fn credentials_changed(&self) -> bool {
        let mut last_read = self.last_read();
        let Some(last_read) = &mut *last_read else {
            return false;
        };
        let same = last_read.stamp == self.credentials.secret().stamp();
        last_read.same_at = same.then(Instant::now);
        !same
    }

    /// The same, for each call: checks the file only now and then.
    fn seems_changed(&self) -> bool {
        let same_at = self
            .last_read()
            .as_ref()
            .and_then(|last_read| last_read.same_at);
        same_at.is_none_or(|same_at| same_at.elapsed() >= LOOK_EVERY) && self.credentials_changed()
    }

    fn last_read(&self) -> MutexGuard<'_, Option<LastRead>> {
        self.last_read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, secret: &Secret) -> Result<SecretString, NoToken> {
        // The stamp is taken first: a change in between is then seen as one, at worst once too
        // often.
        *self.last_read() = Some(LastRead {
            stamp: secret.stamp(),
            same_at: Some(Instant::now()),
        });
        let content = secret
            .read()
            .map_err(|error| unauthorized(error.to_string()))?;
        if !matches!(self.credentials, Credentials::Token(_)) {
            return Ok(content);
        }
        let token = SecretString::from(without_scheme(content.expose_secret()));
        if !can_travel(&token) {
            return Err(unauthorized(format!(
                "{secret} holds no token: it is empty, or has characters that no HTTP header can carry"
            )));
        }
        Ok(token)
    }

    fn fixed(&self, state: &mut SessionState, secret: &Secret) -> Result<Token, NoToken> {
        let is_fresh = self.last_read().is_some() && !self.seems_changed();
        if let Some(token) = state.token.clone().filter(|_| is_fresh) {
            return Ok(token);
        }
        match (self.read(secret), state.token.clone()) {
            (Ok(content), Some(token))
                if content.expose_secret() == token.secret.expose_secret() =>
            {
                Ok(token)
            }
            (Ok(content), _) => Ok(state.keep(content, None)),
            // A file that is being replaced may be missing for a moment.
            (Err(_), Some(token)) => Ok(token),
            (Err(error), None) => Err(error),
        }
    }

    /// A token that is due to be renewed, since it is old or its password has changed, stays in use
    /// as long as there is no new one: only a 401 takes it away.
    async fn logged_in(
        &self,
        state: &mut SessionState,
        timeout: Duration,
    ) -> Result<Token, NoToken> {
        let changed = self.seems_changed();
        let old = state.token.clone();
        let is_old = state.renew_at.is_some_and(|at| at <= Instant::now());
        if let Some(token) = old.clone().filter(|_| !is_old && !changed) {
            return Ok(token);
        }
        if changed {
            state.refusals = 0;
        }
        if let Some(pause) = &state.pause {
            let is_over = pause.until <= Instant::now() || pause.refused && changed;
            if !is_over {
                return old.ok_or_else(|| pause.why.clone());
            }
        }
        let login = self.log_in(state, timeout).await;
        if let (Err(_), Some(_), Some(pause)) = (&login, &old, &mut state.pause) {
            // All callers wait while a login is tried, so a renewal that can wait is not tried
            // often.
            pause.until = pause.until.max(Instant::now() + LONGEST_PAUSE);
        }
        login.or_else(|why| old.ok_or(why))
    }

    async fn log_in(&self, state: &mut SessionState, timeout: Duration) -> Result<Token, NoToken> {
        let read = self.read(self.credentials.secret());
        let secret = read.inspect_err(|why| state.pause(SHORT_PAUSE, true, why))?;
        let Some((request, judge)) = self.login(&secret) else {
            return Err(unauthorized("a fixed token is not asked for".to_owned()));
        };
        let has_token = |answer: &_| matches!(judge(answer), Login::Token { .. });
        let answer = self
            .http
            .exchange(
                request,
                None,
                HeaderMap::new(),
                Instant::now(),
                timeout,
                has_token,
            )
            .await;
        if answer.is_err() && matches!(self.credentials, Credentials::Client(_)) {
            // Nobody else does it for an authorization server.
            self.http.start_anew();
        }
        let login = answer.map(|answer| (answer.status, judge(&answer)));
        let failed = match login {
            Ok((_, Login::Token { token, .. })) if !can_travel(&token) => (
                Verdict::Fault,
                "the token has characters that no HTTP header can carry: check base_url".to_owned(),
            ),
            Ok((_, Login::Token { token, renew_after })) => {
                (self.on_login)("ok");
                return Ok(state.keep(token, renew_after));
            }
            Ok((status, Login::Refused)) => {
                (self.on_login)("refused");
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << state.refusals.min(8))
                    .min(LONGEST_PAUSE);
                state.refusals += 1;
                let why = unauthorized(self.refused(status));
                state.pause(pause, true, &why);
                return Err(why);
            }
            Ok((_, Login::Failed(judgement))) => (
                judgement.verdict,
                judgement.error.unwrap_or_default().message,
            ),
            Err(lost) => (lost.verdict, lost.message),
        };
        (self.on_login)("failed");
        let why = NoToken {
            verdict: failed.0,
            error: ApiError::new(format!("at login: {}", failed.1)),
        };
        state.pause(SHORT_PAUSE, false, &why);
        Err(why)
    }

    /// The request for a token, and how its answer is judged.
    fn login(&self, secret: &SecretString) -> Option<(api::Request, JudgeLogin)> {
        Some(match &self.credentials {
            Credentials::Login {
                account, username, ..
            } => ((account.request)(username, secret), account.judge),
            Credentials::Client(client) => {
                let asked = oauth::request(&client.client_id, secret, client.scope.as_deref());
                // The client's base has no slash at its end.
                let slash = client.token_url.path().ends_with('/');
                let path = if slash { "/" } else { "" }.to_owned();
                (api::Request { path, ..asked }, oauth::judge)
            }
            Credentials::Token(_) => return None,
        })
    }

    fn refused(&self, status: u16) -> String {
        match &self.credentials {
            Credentials::Client(Client { client_id, .. }) => format!(
                "the authorization server refused the client `{client_id}` ({status}): check its \
                 id, its secret and its scope"
            ),
            Credentials::Login { username, .. } => format!(
                "the API refused the login of `{username}` ({status}): check the name and the password"
            ),
            Credentials::Token(_) => format!("the login was refused ({status})"),
        }
    }
}

impl SessionState {
    fn keep(&mut self, secret: SecretString, renew_after: Option<Duration>) -> Token {
        self.count += 1;
        let token = Token {
            secret,
            number: self.count,
        };
        let renew_at = renew_after.map(|after| Instant::now() + after);
        *self = SessionState {
            token: Some(token.clone()),
            renew_at,
            count: self.count,
            refusals: 0,
            pause: None,
        };
        token
    }

    fn pause(&mut self, time: Duration, refused: bool, why: &NoToken) {
        self.pause = Some(Pause {
            until: Instant::now() + time,
            refused,
            why: why.clone(),
        });
    }
}

fn can_travel(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty()
        && token
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn unauthorized(message: String) -> NoToken {
    NoToken {
        verdict: Verdict::Unauthorized,
        error: ApiError::new(message),
    }
}

#[cfg(test)]
mod tests;
