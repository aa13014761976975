# Runs `cargo xtask "$@"` in a new Debian chroot that holds only gcc, git and Rust.
#
# In a mount and a process namespace of its own: mounts and processes end with this script.
# Takes from the environment: DIRECTORY (the chroot goes to $DIRECTORY/root), BASE (tar of a
# minimal Debian), SYSROOT (the Rust toolchain), CARGO_HOME, CHECKOUT, COMMIT, and CACHE (shared
# with the chroot; empty for none).
root=$DIRECTORY/root
step() { echo "==> fresh: $1" >&2; }

step 'unpack Debian'
mkdir "$root"
tar --extract --file="$BASE" --directory="$root" --numeric-owner --xattrs --xattrs-include='*' --acls
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
# Others' leftovers in /dev/shm would be judged by process ids that mean something else in here.
mount -t tmpfs tmpfs "$root/dev/shm"
cp /etc/resolv.conf "$root/etc/resolv.conf"

step 'install gcc and git'
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
{
    chroot "$root" apt-get -q update
    chroot "$root" apt-get -qy --no-install-recommends install gcc libc6-dev git ca-certificates
} </dev/null >"$DIRECTORY/log" 2>&1 || { tail -n 15 "$DIRECTORY/log" >&2; exit 1; }

step 'bring in Rust and a clean clone'
mkdir -p "$root/opt/rust" "$root/root/.cargo/registry" "$root/root/.cache/strata"
mount --bind "$SYSROOT" "$root/opt/rust"
mount -o remount,bind,ro "$root/opt/rust"
# Saves the download; what is not there comes from crates.io.
for part in cache index; do
    if [ -d "$CARGO_HOME/registry/$part" ]; then
        cp -a "$CARGO_HOME/registry/$part" "$root/root/.cargo/registry/"
    fi
done
if [ -n "$CACHE" ]; then
    mount --bind "$CACHE" "$root/root/.cache/strata"
fi
git clone --quiet --no-local --no-checkout "$CHECKOUT" "$root/root/strata"
git -C "$root/root/strata" checkout --quiet --detach "$COMMIT"

step "cargo xtask $*"
# Standard input is no terminal, so the set-up inside asks nothing.
chroot "$root" env -i HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 \
    PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c 'cd /root/strata && exec cargo xtask "$@"' fresh "$@" </dev/null
