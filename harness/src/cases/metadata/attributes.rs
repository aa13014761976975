//! Attributes through a layer, its diff and its application. Law 3.

use crate::cases::samples::{self, FILE_CAPABILITY, access_list};
use crate::cases::stack::build;
use crate::prelude::*;

pub(crate) const XATTRS_ARE_KEPT: Case = Case {
    name: "xattrs_are_kept",
    group: Group::Metadata,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.file("f", "1")?
                        .xattr("f", "user.a", "1")?
                        .xattr("f", "user.b", "2")?;
                    dir.xattr("f", "user.newline", "x\ny\n")?
                        .xattr("f", "user.empty", "")?;
                    dir.xattr("f", "user.big", vec![b'v'; 1500])?;
                    dir.dir("d")?.xattr("d", "user.d", [0, 1, 255])?.xattr(
                        ".",
                        "user.root",
                        "r",
                    )?;
                    Ok(())
                },
                |dir| {
                    dir.xattr("f", "user.a", "changed")?
                        .remove_xattr("f", "user.b")?;
                    dir.xattr("d", "user.e", "new").map(drop)
                },
                |dir| dir.append("f", "more")?.file("d/f", "").map(drop),
            ],
        )?;
        let xattrs = &stack.top_tree().node("f")?.xattrs;
        ensure!(
            xattrs.len() == 4 && xattrs[&b"user.newline"[..]] == b"x\ny\n",
            "{xattrs:?}"
        );
        Ok(())
    },
};

pub(crate) const TRUSTED_XATTRS_ARE_KEPT: Case = Case {
    name: "trusted_xattrs_are_kept",
    group: Group::Metadata,
    needs: &[Capability::TrustedXattrs],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.file("f", "1")?.xattr("f", "trusted.a", "1")?;
                    dir.symlink("l", "f")?
                        .xattr("l", "trusted.l", "2")
                        .map(drop)
                },
                |dir| dir.append("f", "2")?.xattr("f", "trusted.b", "3").map(drop),
            ],
        )?;
        ensure!(
            stack.top_tree().node("f")?.xattrs.len() == 2,
            "attributes are lost"
        );
        Ok(())
    },
};

pub(crate) const ACCESS_LISTS_ARE_KEPT: Case = Case {
    name: "access_lists_are_kept",
    group: Group::Metadata,
    // The list names a user.
    needs: &[Capability::Ownership],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.file("f", "1")?
                        .xattr("f", "system.posix_acl_access", access_list())?;
                    let default = samples::default_access_list();
                    dir.dir("d")?
                        .xattr("d", "system.posix_acl_default", default)?;
                    dir.file("d/inherits", "1").map(drop)
                },
                |dir| dir.append("f", "2")?.file("d/inherits-too", "1").map(drop),
                |dir| dir.remove_xattr("f", "system.posix_acl_access").map(drop),
            ],
        )?;
        let inherited = &stack.top_tree().node("d/inherits-too")?.xattrs;
        ensure!(
            inherited.contains_key(&b"system.posix_acl_access"[..]),
            "{inherited:?}"
        );
        Ok(())
    },
};

/// Capabilities go on last, since changing an owner takes them away.
pub(crate) const FILE_CAPABILITIES_ARE_KEPT: Case = Case {
    name: "file_capabilities_are_kept",
    group: Group::Metadata,
    needs: &[Capability::Ownership],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.file("ping", "1")?
                        .owner("ping", Owner { uid: 7, gid: 8 })?;
                    dir.mode("ping", 0o755)?.xattr(
                        "ping",
                        "security.capability",
                        FILE_CAPABILITY,
                    )?;
                    Ok(())
                },
                |dir| dir.mode("ping", 0o750).map(drop),
            ],
        )?;
        let ping = stack.top_tree().node("ping")?;
        ensure!(
            ping.xattrs[&b"security.capability"[..]] == FILE_CAPABILITY,
            "{:?}",
            ping.xattrs
        );
        Ok(())
    },
};

/// Chown comes before chmod, or set-id bits are lost.
pub(crate) const SET_ID_BITS_ARE_KEPT: Case = Case {
    name: "set_id_bits_are_kept",
    group: Group::Metadata,
    needs: &[Capability::Ownership],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.file("su", "1")?
                        .owner("su", Owner { uid: 10, gid: 20 })?
                        .mode("su", 0o6755)?;
                    dir.dir("shared")?
                        .owner("shared", Owner { uid: 0, gid: 50 })?;
                    dir.mode("shared", 0o3775).map(drop)
                },
                |dir| dir.file("shared/f", "1")?.time("su", 9, 9).map(drop),
            ],
        )?;
        ensure!(
            stack.top_tree().node("su")?.mode == 0o6755,
            "set-id bits are lost"
        );
        ensure!(
            stack.top_tree().node("shared/f")?.gid == 50,
            "the group is not inherited"
        );
        Ok(())
    },
};

pub(crate) const NANOSECOND_TIMES_ARE_KEPT: Case = Case {
    name: "nanosecond_times_are_kept",
    group: Group::Metadata,
    needs: &[],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.file("f", "1")?.symlink("l", "f")?.dir("d")?.fifo("p")?;
                    dir.time("f", 1_600_000_000, 123_456_789)?.time("l", 1, 1)?;
                    dir.time("p", 1_700_000_000, 999_999_999)?
                        .time("d", 0, 0)
                        .map(drop)
                },
                |dir| {
                    dir.mode("f", 0o600)?
                        .file("other", "")?
                        .mode("d", 0o700)
                        .map(drop)
                },
                |dir| dir.time("f", 1_600_000_000, 123_456_788).map(drop),
            ],
        )?;
        let (first, last) = (&stack.trees[0], stack.top_tree());
        let times = [
            ("f", 1_600_000_000_123_456_789),
            ("l", 1_000_000_001),
            ("d", 0),
        ];
        for (path, time) in times {
            ensure!(
                first.node(path)?.mtime == time,
                "`{path}`: {}",
                first.node(path)?.mtime
            );
        }
        ensure!(
            last.node("f")?.mtime == 1_600_000_000_123_456_788,
            "a nanosecond is lost"
        );
        ensure!(last.node("d")?.mtime == 0, "chmod changed the mtime");
        Ok(())
    },
};

/// Times before 1970 and after 2106, as far as the driver says that it keeps them.
pub(crate) const FAR_TIMES_ARE_KEPT: Case = Case {
    name: "far_times_are_kept",
    group: Group::Metadata,
    needs: &[],
    run: |context| {
        let limits = context.capabilities().limits;
        let within = |time: &&i64| {
            limits.min_time.is_none_or(|least| **time >= least)
                && limits.max_time.is_none_or(|most| **time <= most)
        };
        let times: Vec<i64> = [
            -2_000_000_000,
            -1,
            0,
            5_000_000_000,
            8_589_934_592,
            15_000_000_000,
        ]
        .iter()
        .filter(within)
        .copied()
        .collect();
        let base = context.layer(None, |dir| {
            times.iter().try_for_each(|time| {
                let name = time.to_string();
                dir.file(&name, "1")?
                    .time(&name, *time, 250_000_000)
                    .map(drop)
            })
        })?;
        let diff = context.checked_diff(None, &base)?;
        let copy = context.applied_layer(None, &diff)?;
        for layer in [&base, &copy] {
            let tree = context.tree(layer)?;
            for time in &times {
                let expected = i128::from(*time) * 1_000_000_000 + 250_000_000;
                let kept = tree.node(time.to_string().as_str())?.mtime;
                ensure!(kept == expected, "{kept} and not {expected}");
            }
        }
        Ok(())
    },
};

pub(crate) const DEVICES_ARE_KEPT: Case = Case {
    name: "devices_are_kept",
    group: Group::Metadata,
    needs: &[Capability::Devices],
    run: |context| {
        let stack = build(
            context,
            &[
                |dir| {
                    dir.character_device("null", (1, 3))?.mode("null", 0o666)?;
                    dir.block_device("disk", (259, 70_000))?
                        .character_device("big", (511, 262_143))?;
                    Ok(())
                },
                |dir| {
                    dir.mode("null", 0o600)?
                        .unlink("big")?
                        .character_device("big", (511, 7))
                        .map(drop)
                },
            ],
        )?;
        ensure!(
            stack.top_tree().node("disk")?.device == (259, 70_000),
            "the numbers changed"
        );
        Ok(())
    },
};

/// Everything at once, through two drivers' roots. Law 3.
pub(crate) const EVERYTHING_IS_KEPT: Case = Case {
    name: "everything_is_kept",
    group: Group::Metadata,
    needs: &[
        Capability::Ownership,
        Capability::Devices,
        Capability::TrustedXattrs,
    ],
    run: |context| {
        build(
            context,
            &[samples::rich, |dir| {
                dir.append("owned", "!")?.append("hole", "!").map(drop)
            }],
        )
        .map(drop)
    },
};

/// The largest id that `user_namespaces(7)` maps for this process.
fn largest_id(map: &str) -> Result<u32> {
    let text = fs_err::read_to_string(format!("/proc/self/{map}"))?;
    let mut most = 0;
    for line in text.lines() {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        if let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(length))) =
            (fields.next(), fields.next(), fields.next())
        {
            most = most.max(inside.saturating_add(length.saturating_sub(1)));
        }
    }
    Ok(most)
}

pub(crate) const LARGE_IDS_ARE_KEPT: Case = Case {
    name: "large_ids_are_kept",
    group: Group::Metadata,
    needs: &[Capability::Ownership],
    run: |context| {
        // To and beyond an octal field of seven digits, and beyond 31 bits, as far as this
        // process's user namespace has such ids.
        let most = [largest_id("uid_map")?, largest_id("gid_map")?];
        let ids = [65_535, 2_097_151, 2_097_152, 2_147_483_648, 4_294_967_294];
        let ids: Vec<u32> = ids
            .into_iter()
            .filter(|id| most.iter().all(|most| id <= most))
            .collect();
        let base = context.layer(None, |dir| {
            ids.iter().try_for_each(|id| {
                let name = id.to_string();
                dir.file(&name, "1")?
                    .owner(
                        &name,
                        Owner {
                            uid: *id,
                            gid: *id - 1,
                        },
                    )
                    .map(drop)
            })
        })?;
        let diff = context.checked_diff(None, &base)?;
        let copy = context.applied_layer(None, &diff)?;
        let expected = context.tree(&base)?;
        context
            .tree(&copy)?
            .expect_equal(&expected, "the applied copy")
    },
};
