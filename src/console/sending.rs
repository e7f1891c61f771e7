//! Sending one update from the page: the call as it would be made, a yes, and how it ends. By the
//! same code as the command. The log says who did it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tracing::info;

use crate::config::Config;
use crate::console::Desktop;
use crate::console::asked::{given, wrong};
use crate::console::gate::GateRefusal;
use crate::console::work::{Job, JobState, Yes};
use crate::model::outcome::OutcomeData;
use crate::model::record::Place;
use crate::model::text;
use crate::operator::judge::TargetUser;
use crate::operator::preview::{Fate, Previewer};
use crate::operator::send::{NewUpdate, OutcomeWatch, WaitFor, ending, of_changes};
use crate::operator::{Desk, ReadFailure, input};

/// For so long an update is followed.
const WAIT: Duration = Duration::from_secs(120);
/// Bytes of a body that are shown.
const BODY: usize = 4_000;

/// The update as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToSend {
    target: String,
    user: String,
    /// A JSON object, as text.
    changes: String,
    #[serde(default)]
    key: String,
}

impl ToSend {
    /// The event, and what would become of it.
    ///
    /// # Errors
    /// If that cannot be meant; no word of it quotes a value.
    pub(super) fn draft(&self, config: &Config) -> Result<NewUpdate, GateRefusal> {
        let target = input::target(config, self.target.trim()).map_err(wrong)?;
        let user = input::user_value(config, &target, &self.user).map_err(wrong)?;
        if RawValue::from_string(self.changes.trim().to_owned()).is_err() {
            return Err(wrong(
                "the changes are no JSON: write an object, such as {\"rooms\": [37, 39]}",
            ));
        }
        let event = of_changes(&target, &user, self.changes.trim());
        let key = given(&self.key).map(str::to_owned);
        Ok(NewUpdate::new(&Previewer::new(config), &event, key))
    }
}

/// All that is known of it, for the page. The body is text: a browser's numbers are not exact.
fn shown(
    draft: &NewUpdate,
    outcome: &str,
    place: Option<&Place>,
    data: Option<&OutcomeData>,
) -> Value {
    let mut shown = ending(draft, outcome, place, data);
    if let Fate::Call(sent) = &draft.preview.fate {
        shown["call"]["body"] = text::cut(sent.call().body.get(), BODY).into();
    }
    shown
}

/// Shows the call, and sends the update if somebody says yes.
///
/// # Errors
/// If the broker does not answer.
pub(super) fn run(
    desktop: &Arc<Desktop>,
    job: &Job,
    draft: &NewUpdate,
) -> Result<Value, ReadFailure> {
    let Some(lane) = draft.lane() else {
        return Ok(shown(draft, "refused", None, None));
    };
    let Some(yes) = job.ask(shown(draft, "planned", None, None)) else {
        return Ok(json!({ "given_up": true }));
    };
    job.set(JobState::Replaying(shown(draft, "sending", None, None)));
    let desk = Desk::open(&desktop.config)?;
    let follow = OutcomeWatch::begin(&desk)?;
    let place = draft.send(&desk)?;
    log(&yes, &lane, &place);
    let tell = |words: &str| {
        let mut told = shown(draft, "waiting", Some(&place), None);
        told["waiting"] = words.into();
        job.set(JobState::Replaying(told));
    };
    tell("");
    let mut waiting = WaitFor {
        until: Instant::now() + WAIT,
        is_over: &|| job.is_stopped(),
        status: &|| Some(desktop.now.state(&lane.target)?.1),
        tell: &mut |words| tell(words),
    };
    let ended = follow.outcome(&desk, &lane, &place, &mut waiting);
    Ok(match ended {
        Ok(Some(data)) => shown(draft, data.outcome.as_str(), Some(&place), Some(&data)),
        Ok(None) => shown(draft, "waiting", Some(&place), None),
        // It was sent all the same, and must not be sent again.
        Err(failure) => {
            let mut told = shown(draft, "unknown", Some(&place), None);
            told["failure"] = failure.to_string().into();
            told
        }
    })
}

fn log(yes: &Yes, lane: &TargetUser, place: &Place) {
    let Yes { operator, peer, .. } = yes;
    let (target, user) = (&lane.target, lane.user.to_string());
    info!(
        operator,
        peer, target, user, record = %place, "an update was sent, asked for by the console"
    );
}
