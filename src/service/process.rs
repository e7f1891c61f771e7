//! The process itself: if it dies, none of its memory is left behind, since it holds passwords and
//! tokens; memory is not taken before it is needed; and the process ends without a crash.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Switches core dumps off, for as long as the process lives. On Linux this includes dumps that the
/// system would hand to a program of its choice, which the limit does not stop; debuggers of the
/// same user are kept out along with them.
///
/// # Errors
/// If the system does not allow it.
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

/// Keeps OpenSSL from being cleaned up when the process ends. It does so by itself otherwise, under
/// the feet of threads that nobody waits for: a look at the topics that is under way then is no
/// reason to end with a crash. Must be called before anything makes a client of Kafka.
pub fn keep_openssl_to_the_end() {
    openssl_sys::init();
}

/// The allocator reserves memory ahead, of which the kernel would back 2 MiB at the first touch of
/// any byte. In pages of the usual size the process takes a third of that when idle, and no more
/// CPU time. A kernel without the call has no such pages either.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
