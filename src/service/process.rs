//! The process's memory: nothing of it is left behind where it dies, since passwords and tokens are
//! in it; and none of it is taken before it is needed.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Switches core dumps off, for as long as the process lives. On Linux also those that the system
/// would hand to a program of its choice, which the limit does not stop; debuggers of the same user
/// are kept out along with them.
///
/// # Errors
/// Where the system does not let it.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The allocator reserves memory ahead, of which the kernel would back 2 MiB at the first touch of
/// any byte. In pages of the usual size the process takes a third of that when idle, and no more
/// CPU time. A kernel without the call has no such pages either.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
