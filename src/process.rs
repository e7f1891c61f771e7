//! The process: nothing of its memory is left behind where it dies, since passwords and tokens are in it.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Switches core dumps off, for as long as the process lives. On Linux also those that the system would hand to a program of its choice, which
/// the limit does not stop; debuggers of the same user are kept out along with them.
///
/// # Errors
/// Where the system does not let it.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
