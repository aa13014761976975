//! Loop devices, mounts and what the kernel tells about them. All but two need root.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, also in its set-up, it is the assertion"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use strata_sys::loopdev::{self, LoopDevice, LoopOptions};
use strata_sys::mount::{
    self, DetachedMount, FsContext, MountAttributes, MountClassic, MountFlags, UnmountFlags,
};
use strata_sys::mountinfo;
use strata_sys::namespace::{run_in_directory, run_in_private_namespace};
use strata_sys::statmount::{
    UniqueMountId, listmount, mount_id, mount_id_of, mount_namespace_id, statmount,
};
use tempfile::TempDir;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Runs a test that mounts, so that nothing of it can stay behind.
fn mounting(test: impl FnOnce(&Path) + Send) {
    if is_root() {
        let directory = TempDir::new().unwrap();
        run_in_private_namespace(|| test(directory.path())).unwrap();
    }
}

fn sub(parent: &Path, name: &str) -> PathBuf {
    let path = parent.join(name);
    fs_err::create_dir(&path).unwrap();
    path
}

fn image(directory: &Path) -> PathBuf {
    let path = directory.join("image");
    fs_err::File::create(&path)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    path
}

/// The devices that `image` is attached to.
fn devices(image: &Path) -> Vec<PathBuf> {
    let all = loopdev::attached().unwrap().into_iter();
    all.filter(|(_, file)| file == image)
        .map(|(device, _)| device)
        .collect()
}

/// Others (udev) may look into a new device and so put off its end for a moment.
fn wait_until_detached(image: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !devices(image).is_empty() {
        assert!(
            Instant::now() < deadline,
            "{:?} stay attached",
            devices(image)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ext4_image(directory: &Path) -> PathBuf {
    let path = image(directory);
    let made = Command::new("/usr/sbin/mkfs.ext4")
        .args(["-q", "-F"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    path
}

fn tmpfs() -> DetachedMount {
    let context = FsContext::open("tmpfs").unwrap();
    context.create().unwrap();
    context.mount(MountAttributes::empty()).unwrap()
}

fn classic_overlay<'a>(target: &'a Path, options: &'a str) -> MountClassic<'a> {
    MountClassic {
        source: "overlay".as_ref(),
        target,
        fstype: "overlay",
        flags: MountFlags::empty(),
        data: options.as_ref(),
    }
}

#[test]
fn ext4_on_a_loop_device_from_attach_to_unmount() {
    mounting(|directory| {
        let image = ext4_image(directory);
        let target = sub(directory, "target");
        let options = LoopOptions {
            autoclear: true,
            ..LoopOptions::default()
        };
        let device = LoopDevice::attach(&image, options).unwrap();
        assert!(!device.direct_io().unwrap());
        let listed = (device.path().to_owned(), image.clone());
        assert!(loopdev::attached().unwrap().contains(&listed));

        let context = FsContext::open("ext4").unwrap();
        context.set_string("source", device.path()).unwrap();
        context.set_flag("noquota").unwrap();
        context.create().unwrap();
        let detached = context
            .mount(MountAttributes::NODEV | MountAttributes::NOATIME)
            .unwrap();
        drop(context);

        // Usable before it is anywhere.
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(detached.as_fd(), "name", flags, Mode::RWXU).unwrap();
        fs_err::File::from_parts(file.into(), "name")
            .write_all(b"content")
            .unwrap();
        let id = mount_id_of(&detached).unwrap();
        assert_eq!(
            statmount(id, None).unwrap(),
            None,
            "a detached mount is in no namespace"
        );

        detached.attach(&target).unwrap();
        assert_eq!(fs_err::read(target.join("name")).unwrap(), b"content");
        assert_eq!(mount_id(&target).unwrap(), id);
        let namespace = mount_namespace_id().unwrap();
        for namespace in [None, Some(namespace)] {
            let status = statmount(id, namespace).unwrap().unwrap();
            assert_eq!(status.mount_point.as_deref(), Some(target.as_path()));
            assert_eq!(status.fs_type, "ext4");
            assert!(listmount(namespace).unwrap().contains(&id));
        }

        let busy = rustix::fs::open(&target, OFlags::RDONLY, Mode::empty()).unwrap();
        let error = mount::unmount(&target, UnmountFlags::empty()).unwrap_err();
        assert!(error.is(Errno::BUSY), "{error:?}");
        drop(busy);
        mount::unmount(&target, UnmountFlags::empty()).unwrap();
        assert_eq!(statmount(id, None).unwrap(), None);
        device.detach().unwrap();
        wait_until_detached(&image);
    });
}

#[test]
fn loop_devices_are_released_adopted_and_leaked() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let image = image(directory.path());
    drop(LoopDevice::attach(&image, LoopOptions::default()).unwrap());
    wait_until_detached(&image);

    let path = LoopDevice::attach(&image, LoopOptions::default())
        .unwrap()
        .leak();
    assert_eq!(devices(&image), std::slice::from_ref(&path), "leaked");
    LoopDevice::adopt(&path).unwrap().detach().unwrap();
    wait_until_detached(&image);

    // Somebody else may have taken the device by now, but this is none of theirs.
    let error = LoopDevice::adopt(&directory.path().join("image")).unwrap_err();
    assert!(error.is(Errno::NOTTY), "{error:?}");
}

#[test]
fn loop_device_options_reach_the_kernel() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let options = LoopOptions {
        direct_io: true,
        read_only: true,
        autoclear: true,
        block_size: Some(4096),
    };
    let device = LoopDevice::attach(&image(directory.path()), options).unwrap();
    assert_eq!(rustix::fs::ioctl_blksszget(&device).unwrap(), 4096);
    let name = device.path().file_name().unwrap().to_str().unwrap();
    let attribute = |attribute: &str| {
        let path = format!("/sys/block/{name}/{attribute}");
        fs_err::read_to_string(path).unwrap().trim().to_owned()
    };
    assert_eq!(attribute("ro"), "1");
    assert_eq!(attribute("loop/autoclear"), "1");
    assert_eq!(attribute("loop/dio") == "1", device.direct_io().unwrap());
}

#[test]
fn loop_devices_attached_at_once_are_different() {
    /// Enough that two threads are given the same free device in some of them.
    const ROUNDS: usize = 50;
    const THREADS: usize = 4;
    if !is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let image = image(directory.path());
    for _ in 0..ROUNDS {
        let start = Barrier::new(THREADS);
        let devices: Vec<LoopDevice> = std::thread::scope(|scope| {
            let attach = || {
                start.wait();
                LoopDevice::attach(&image, LoopOptions::default()).unwrap()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(attach)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let paths: BTreeSet<&Path> = devices.iter().map(LoopDevice::path).collect();
        assert_eq!(paths.len(), THREADS);
    }
}

#[test]
fn wrong_overlay_options_show_the_kernels_text() {
    mounting(|_| {
        let context = FsContext::open_explaining("overlay").unwrap();
        let error = context.set_string("no_such_option", "1").unwrap_err();
        assert_eq!(error.subject, "no_such_option=1");
        let text = error.kernel.as_deref().unwrap();
        assert!(
            text.contains("overlay: Unknown parameter 'no_such_option'"),
            "{text}"
        );
        assert!(context.take_messages().is_empty(), "taken into the error");

        let error = context.set_string("metacopy", "sideways").unwrap_err();
        let text = error.kernel.as_deref().unwrap();
        assert!(text.contains("overlay: Bad value for 'metacopy'"), "{text}");

        // Said in the kernel's log only, which root may read.
        let error = context.set_string("lowerdir+", "/nonexistent").unwrap_err();
        assert!(error.is(Errno::NOENT));
        let text = error.kernel.as_deref().unwrap();
        assert!(
            text.contains("overlayfs: failed to resolve '/nonexistent'"),
            "{text}"
        );
        let error = context.create().unwrap_err();
        assert_eq!(error.subject, "overlay");
        let text = error.kernel.as_deref().unwrap();
        assert!(text.contains("overlayfs: missing 'lowerdir'"), "{text}");
        assert!(!text.contains("/nonexistent"), "told already: {text}");
    });
}

#[test]
fn option_values_over_255_bytes_are_refused_with_the_reason() {
    mounting(|_| {
        let context = FsContext::open("tmpfs").unwrap();
        let error = context.set_string("source", "x".repeat(256)).unwrap_err();
        assert_eq!(error.errno(), None);
        assert!(
            error.source.to_string().contains("has 256 bytes"),
            "{}",
            error.source
        );
        context.set_string("source", "x".repeat(255)).unwrap();
    });
}

#[test]
fn unknown_file_system_types_are_enodev() {
    if is_root() {
        let error = FsContext::open("strata-test-no-such").unwrap_err();
        assert!(error.is(Errno::NODEV), "{error:?}");
    }
}

#[test]
fn read_only_bind_refuses_a_write_and_leaves_the_source_writable() {
    mounting(|directory| {
        let (source, target) = (sub(directory, "source"), sub(directory, "target"));
        let attributes = MountAttributes::READ_ONLY | MountAttributes::NOATIME;
        DetachedMount::bind(&source, attributes)
            .unwrap()
            .attach(&target)
            .unwrap();
        let error = fs_err::write(target.join("name"), b"").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        fs_err::write(source.join("name"), b"").unwrap();
        assert!(target.join("name").exists());

        let plain = DetachedMount::bind(&source, MountAttributes::empty()).unwrap();
        rustix::fs::mkdirat(&plain, "made", Mode::RWXU).unwrap();
        assert!(target.join("made").exists());
    });
}

#[test]
fn attach_and_unmount_follow_no_link() {
    mounting(|directory| {
        let target = sub(directory, "target");
        let link = directory.join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        tmpfs().attach(&link).unwrap_err();
        tmpfs().attach(&target).unwrap();
        let error = mount::unmount(&link, UnmountFlags::empty()).unwrap_err();
        assert!(error.is(Errno::INVAL), "{error:?}");
        mount::unmount(&target, UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn classic_mount_takes_names_relative_to_a_directory() {
    mounting(|directory| {
        let target = sub(directory, "target");
        for layer in ["a", "b"] {
            fs_err::write(sub(directory, layer).join(layer), b"").unwrap();
        }
        let here = rustix::fs::open(directory, OFlags::PATH, Mode::empty()).unwrap();
        let overlay = classic_overlay(&target, "lowerdir=a:b");
        run_in_directory(&here, || mount::mount_classic(&overlay))
            .unwrap()
            .unwrap();
        assert!(target.join("a").exists() && target.join("b").exists());
        assert_ne!(std::env::current_dir().unwrap(), directory);

        let wrong = classic_overlay(&target, "lowerdir=/nonexistent");
        let error = mount::mount_classic(&wrong).unwrap_err();
        assert!(error.kernel.unwrap().contains("failed to resolve"));
    });
}

#[test]
fn mounts_in_a_private_namespace_are_not_visible_outside() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let outside = mount_namespace_id().unwrap();
    let (id, inside) = run_in_private_namespace(|| {
        tmpfs().attach(directory.path()).unwrap();
        fs_err::write(directory.path().join("name"), b"").unwrap();
        let id = mount_id(directory.path()).unwrap();
        assert!(statmount(id, None).unwrap().is_some());
        assert_eq!(statmount(id, Some(outside)).unwrap(), None);
        (id, mount_namespace_id().unwrap())
    })
    .unwrap();
    assert_ne!(inside, outside);
    assert_eq!(statmount(id, None).unwrap(), None);
    assert!(!directory.path().join("name").exists());
    assert_eq!(
        mount_namespace_id().unwrap(),
        outside,
        "the calling thread stayed where it was"
    );
}

#[test]
fn private_namespaces_keep_mounts_in_even_below_shared_ones() {
    mounting(|directory| {
        tmpfs().attach(directory).unwrap();
        rustix::mount::mount_change(directory, MountPropagationFlags::SHARED).unwrap();
        let (inner, outer) = (sub(directory, "inner"), sub(directory, "outer"));
        run_in_private_namespace(|| {
            tmpfs().attach(&inner).unwrap();
            fs_err::write(inner.join("name"), b"").unwrap();
        })
        .unwrap();
        assert!(!inner.join("name").exists(), "mounted inside, seen outside");
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel::<()>();
        let seen = std::thread::scope(|scope| {
            let outer = &outer;
            let inside = scope.spawn(move || {
                run_in_private_namespace(move || {
                    ready.send(()).unwrap();
                    told.recv().unwrap();
                    outer.join("name").exists()
                })
                .unwrap()
            });
            is_ready.recv().unwrap();
            tmpfs().attach(outer).unwrap();
            fs_err::write(outer.join("name"), b"").unwrap();
            tell.send(()).unwrap();
            inside.join().unwrap()
        });
        assert!(!seen, "mounted outside, seen inside");
        let points: Vec<PathBuf> = mountinfo::mounts()
            .unwrap()
            .into_iter()
            .map(|mount| mount.mount_point)
            .collect();
        assert!(
            points.contains(&outer) && !points.contains(&inner),
            "{points:?}"
        );
    });
}

#[test]
fn a_mount_in_another_namespace_is_found_there() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let path = directory.path();
        scope.spawn(move || {
            run_in_private_namespace(move || {
                tmpfs().attach(path).unwrap();
                tell.send((mount_id(path).unwrap(), mount_namespace_id().unwrap()))
                    .unwrap();
                ended.recv().unwrap_err();
            })
            .unwrap();
        });
        let (id, namespace) = told.recv().unwrap();
        let status = statmount(id, Some(namespace)).unwrap().unwrap();
        // Told from the other namespace's root, which a chroot lies somewhere below.
        let (point, below) = (status.mount_point.unwrap(), path.strip_prefix("/").unwrap());
        assert!(point.ends_with(below), "{}", point.display());
        assert_eq!(status.fs_type, "tmpfs");
        drop(end);
    });
}

#[test]
fn mounts_are_listed_and_told_without_privilege() {
    match listmount(None) {
        Ok(all) => {
            let root = mount_id(Path::new("/proc")).unwrap();
            assert!(all.contains(&root));
            let status = statmount(root, None).unwrap().unwrap();
            assert_eq!(status.mount_point.as_deref(), Some(Path::new("/proc")));
            assert_eq!(statmount(UniqueMountId(u64::MAX - 1), None).unwrap(), None);
        }
        Err(error) if error.is_unsupported() => eprintln!("skipped: needs Linux 6.8"),
        Err(error) => panic!("{error}: {}", error.source),
    }
}

#[test]
fn a_mount_is_told_by_descriptor_as_by_path() {
    let directory = TempDir::new().unwrap();
    let fd = rustix::fs::openat(CWD, directory.path(), OFlags::PATH, Mode::empty()).unwrap();
    match mount_id(directory.path()) {
        Ok(id) => assert_eq!(mount_id_of(&fd).unwrap(), id),
        Err(error) => assert!(error.is_unsupported(), "{error:?}"),
    }
}
