//! Running a program in a mount and a process namespace of its own: what it mounts and starts ends
//! with it, and it ends with us.

use xshell::{Cmd, Shell, cmd};

/// For `sh -euc`: makes the mounts of a new namespace private, then becomes its arguments.
///
/// In a chroot `/` may be no mount point, and then its propagation cannot be changed (EINVAL), nor
/// could unshare(1) do it. Entering the namespace that we are in puts `nsenter` at the real root.
pub(crate) const MAKE_PRIVATE: &str = r#"
mount --make-rprivate / 2>/dev/null || nsenter --mount=/proc/self/ns/mnt -- mount --make-rprivate /
exec "$@"
"#;

/// Starts what is appended as further arguments. If we are killed, so is all of it.
pub(crate) fn private(sh: &Shell) -> Cmd<'_> {
    cmd!(
        sh,
        "setpriv --pdeathsig KILL unshare --mount --propagation unchanged --pid --fork"
    )
    .args(["--kill-child", "--", "sh", "-euc", MAKE_PRIVATE, "private"])
    .quiet()
}
