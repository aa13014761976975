//! What texts of options mean.

use super::*;
use std::path::Path;

fn parse(text: &str) -> UnionOptions {
    UnionOptions::parse(text, "none").unwrap()
}

fn refused(text: &str) -> String {
    let error = UnionOptions::parse(text, "none").unwrap_err();
    format!("{error}; {}", error.hint_text().unwrap_or_default())
}

/// The branches as `PATH=PERMISSION`.
fn branches(text: &str) -> Vec<String> {
    let shown =
        |branch: &BranchOption| format!("{}={}", branch.path.display(), branch.permission());
    parse(text).branches.iter().map(shown).collect()
}

#[test]
fn branches_have_aufs_defaults() {
    assert_eq!(
        branches("br=/u:/a:/b=ro+wh:/c=rr"),
        ["/u=rw", "/a=ro", "/b=ro+wh", "/c=rr"]
    );
    assert_eq!(branches("br:/u=ro,dirs=/l"), ["/u=ro", "/l=ro"]);
    assert_eq!(
        branches("br:/u=rw+nolwh:/l=ro+wh+coo_reg:/m=rr+coo_all"),
        ["/u=rw+nolwh", "/l=ro+wh+coo_reg", "/m=rr+coo_all"]
    );
}

#[test]
fn branches_are_put_into_their_places() {
    assert_eq!(
        branches("br:/u:/l,append:/m=ro+wh,prepend:/t,add:1:/s=rw"),
        ["/t=rw", "/s=rw", "/u=rw", "/l=ro", "/m=ro+wh"]
    );
    for text in ["br:/u,add:2:/s", "br:/u,add:/s", "br:/u,add:x:/s=rw", "add"] {
        assert!(refused(text).contains("add"), "{text}");
    }
    assert!(refused("br:/u,del:/u").contains("strata-union control"));
}

#[test]
fn overlays_words_mean_whiteouts_below_and_a_xino_file_in_the_work_directory() {
    let text = "lowerdir=/a:/b,lowerdir+=/c,upperdir=/u,workdir=/w,lowerdir+=/d";
    assert_eq!(
        branches(text),
        ["/u=rw", "/a=ro+wh", "/b=ro+wh", "/c=ro+wh", "/d=ro+wh"]
    );
    assert_eq!(parse(text).xino, Xino::At("/w/xino".into()));
    assert_eq!(
        parse(&format!("{text},xino=/x")).xino,
        Xino::At("/x".into())
    );
    assert_eq!(parse(&format!("{text},noxino")).xino, Xino::None);
    assert_eq!(parse("lowerdir=/a").xino, Xino::None);
    assert_eq!(parse("br=/a").xino, Xino::Beside);
    assert!(refused("lowerdir=/a,workdir=/w").contains("workdir"));
    assert!(refused("lowerdir=/a::/b").contains("data-only"));
    assert!(refused("br=/a,upperdir=/u").contains("both"));
}

#[test]
fn a_backslash_takes_the_next_byte_for_itself() {
    assert_eq!(
        branches(r"lowerdir=/a\:b:/c\,d\\e,upperdir=/u\=v"),
        ["/u=v=rw", "/a:b=ro+wh", r"/c,d\e=ro+wh"]
    );
    assert_eq!(branches(r"br=/x\=ro:/y\\=rr"), ["/x=ro=rw", r"/y\=rr"]);
    assert_eq!(
        branches("br=/with=sign/below:/l"),
        ["/with=sign/below=rw", "/l=ro"]
    );
    let options = UnionOptions::parse(b"br=/\xff\\,", "none").unwrap();
    let bytes = options.branches[0].path.as_os_str().as_encoded_bytes();
    assert_eq!(bytes, b"/\xff,");
}

#[test]
fn relative_paths_begin_at_the_working_directory() {
    let options = parse("br=upper:lower");
    assert!(
        options
            .branches
            .iter()
            .all(|branch| branch.path.is_absolute())
    );
    assert!(options.branches[1].path.ends_with("lower"));
}

#[test]
fn policies_and_switches_are_read() {
    let options = parse(
        "br=/u,udba=none,create=mfs:5,cpup=bu,noplink,diropq=a,sum,coherence=fast,threads=3,ro,\
         log=/l,acl,dirperm1,noxino",
    );
    assert_eq!(options.udba, Udba::None);
    assert_eq!(
        options.create,
        CreatePolicy::MostFree(Duration::from_secs(5))
    );
    assert_eq!(options.copy_up, CopyUpPolicy::BottomUp);
    assert_eq!(options.coherence, Coherence::Fast);
    assert_eq!(options.threads, Some(3));
    assert_eq!(options.log.as_deref(), Some(Path::new("/l")));
    assert!(
        options.acl && options.always_opaque && options.sum && options.read_only && !options.plink
    );
    let defaults = parse("br=/u,ro,rw");
    assert!(defaults.plink && !defaults.read_only && !defaults.always_opaque);
    assert_eq!(parse("br=/u,create=rr").create, CreatePolicy::RoundRobin);
    assert_eq!(
        parse("br=/u,create=mfs").create,
        CreatePolicy::MostFree(Duration::from_secs(30))
    );
}

#[test]
fn words_of_every_mount_become_attributes_or_nothing() {
    let text = "rw,dev,nosuid,noexec,exec,relatime,x-systemd.automount,_netdev,comment=a,br=/u";
    assert_eq!(parse(text).attributes, MountAttributes::NOSUID);
    assert_eq!(parse("br=/u,nodev,noatime").attributes.bits(), 0x14);
}

#[test]
fn what_is_unknown_or_wrong_is_named() {
    for (text, named) in [
        ("br=/u,quux=1", "unknown option `quux=1`"),
        ("br=/u,noquux", "unknown option `noquux`"),
        ("br=/u,quux", "known are br, add"),
        ("", "no branch is given"),
        ("br=", "without a path"),
        ("br=/u::/l", "without a path"),
        ("br=/u=rx", "permission `rx`"),
        ("br=/u=rw+moo", "attribute `moo`"),
        ("br=/u,udba=notify", "udba=reval"),
        ("br=/u,udba=no", "none, reval"),
        ("br=/u,create=tdp:3", "mfs:SECONDS"),
        ("br=/u,create=mfs:x", "mfs:SECONDS"),
        ("br=/u,cpup=x", "tdp, bup, bu"),
        ("br=/u,threads=0", "1 to 256"),
        ("br=/u,nodirperm1", "dirperm1"),
        ("br=/u,remount", "control"),
        ("br=/u,coherence=x", "strict, fast"),
        ("br=/u,diropq=x", "a, w"),
    ] {
        assert!(refused(text).contains(named), "{text}: {}", refused(text));
    }
}
