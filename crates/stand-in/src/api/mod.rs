//! The APIs that a stand-in can play: what each must tell the rest. Each is one file and one line
//! in [`all`].

mod aipix;
mod scim;
mod valt;

use hyper::{Method, StatusCode};
use tokio::time::Instant;

use crate::message::{Answer, Request};
use crate::state::ServerState;
use crate::user::User;

/// One user-management API: its routes, its answers, and what it remembers beside the
/// [`ServerState`] that all have.
pub(crate) trait ApiServer: Send {
    /// The name by which a stand-in is asked for.
    fn name(&self) -> &'static str;

    /// The user with this id, if it is one that the API may have.
    fn user(&self, id: &str) -> Option<User>;

    /// The purpose of a call. Faults, counts and the journal depend on it; the body of a login is a
    /// secret, and not kept.
    fn purpose(&self, method: &Method, path: &str) -> Purpose;

    /// The true answer to a call of that purpose, with its effect.
    fn answer(
        &mut self,
        request: &Request,
        purpose: &Purpose,
        state: &mut ServerState,
        now: Instant,
    ) -> Answer;

    /// How the API words a status that is not a success.
    fn refusal(&self, status: StatusCode, user: Option<&User>) -> Answer;
}

/// The registry: a further API is a further line.
fn all() -> Vec<Box<dyn ApiServer>> {
    vec![
        Box::new(aipix::AipixServer),
        Box::new(valt::ValtServer::default()),
        Box::new(scim::ScimServer),
    ]
}

/// The names of the APIs that a stand-in can play.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().into_iter().map(|api| api.name())
}

/// The API of that name, which nobody has called yet.
pub(crate) fn by_name(name: &str) -> Option<Box<dyn ApiServer>> {
    all().into_iter().find(|api| api.name() == name)
}

/// The purpose of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It updates this user.
    Update(User),
    /// It logs in.
    Login,
    /// Anything else, such as a route that the API does not have.
    Other,
}

impl Purpose {
    /// The user it is about.
    pub(crate) fn user(&self) -> Option<&User> {
        match self {
            Purpose::Update(user) => Some(user),
            Purpose::Login | Purpose::Other => None,
        }
    }
}
