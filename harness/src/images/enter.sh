# Becomes PROGRAM with the root directory of another Debian: `sh -euc ... enter TREE DIRECTORY... --
# PROGRAM ARGUMENT...`, in a mount and a process namespace of its own, with which all of it ends.
#
# The root is a file system in memory with the tree's programs in it read-only, the host's devices
# but not its shared memory, and each DIRECTORY at its own path. By pivot_root and not by chroot, since what starts containers
# does the same, for which `/` must be a mount point.
# In a chroot the host's `/` is none either: entering the namespace that we are in puts `nsenter`
# at the real root.
mount --make-rprivate / 2>/dev/null || nsenter --mount=/proc/self/ns/mnt -- mount --make-rprivate /
tree=$1
root=$tree/mnt
shift
mount -t tmpfs -o mode=0755 tmpfs "$root"
(
    cd "$root"
    mkdir -p dev etc old proc root run sys tmp usr var/lib var/tmp
    chmod 1777 tmp var/tmp
    for link in "$tree"/bin "$tree"/lib* "$tree"/sbin; do
        ln -s "usr/${link##*/}" .
    done
    for part in etc usr; do
        mount --bind "$tree/$part" "$part"
        mount -o remount,bind,ro "$part"
    done
    # Docker's daemon writes its key there.
    mount -t tmpfs tmpfs etc/docker
    mount --rbind /dev dev
    # Podman keeps its locks there.
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    mount --rbind /sys sys
    mount -t proc proc proc
)
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    shift
done
shift
cd "$root"
exec nsenter --mount=/proc/self/ns/mnt --wd=. -- sh -euc '
    pivot_root . old
    cd /
    umount -l old
    rmdir old
    export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin HOME=/root
    exec "$@"
' enter "$@"
