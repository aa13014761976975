//! Whether the crate `strata-btrfs` can be built here. It binds a C library, so that it is a feature
//! of the programs that have it, and no other build needs anything of this.

use std::path::PathBuf;
use xshell::{Shell, cmd};

/// What cargo is told where it can be built, for `strata` and `strata-drivers`.
pub(crate) const FEATURES: &str = "strata/btrfs,strata-drivers/btrfs";
/// The crate itself, to be left out where it cannot.
pub(crate) const CRATE: &str = "strata-btrfs";

/// What cargo is told for the package `strata` alone, or for `strata-drivers` alone.
pub(crate) fn feature_alone(sh: &Shell) -> &'static [&'static str] {
    if is_buildable(sh) {
        &["--features", "btrfs"]
    } else {
        &[]
    }
}

const LIBRARY: &str = "libbtrfsutil";

/// Whether it can be built; if not, one line says why.
pub(crate) fn is_buildable(sh: &Shell) -> bool {
    let reason = if !links(sh) {
        "libbtrfsutil cannot be linked"
    } else if !has_libclang() {
        "there is no libclang"
    } else {
        return true;
    };
    eprintln!("without the btrfs driver: {reason}");
    false
}

/// Whether a program links with the library as pkg-config describes it.
pub(crate) fn links(sh: &Shell) -> bool {
    let described = cmd!(sh, "pkg-config --cflags --libs {LIBRARY}");
    let Ok(flags) = described.quiet().ignore_stderr().read() else {
        return false;
    };
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let Ok(directory) = sh.create_temp_dir() else {
        return false;
    };
    let (source, program) = (directory.path().join("a.c"), directory.path().join("a"));
    let text = "#include <btrfsutil.h>\nint main(void) { return btrfs_util_sync(\".\") == 0; }\n";
    sh.write_file(&source, text).is_ok()
        && cmd!(sh, "cc -o {program} {source} {flags...}")
            .quiet()
            .ignore_stdout()
            .ignore_stderr()
            .run()
            .is_ok()
}

/// Whether libclang is where the binding generator looks for it.
pub(crate) fn has_libclang() -> bool {
    let named = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    let fixed = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let below = |place: &str| {
        let entries = fs_err::read_dir(place).into_iter().flatten();
        entries
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let of_llvm = below("/usr/lib").into_iter().map(|path| path.join("lib"));
    named
        .into_iter()
        .chain(fixed)
        .chain(below("/usr/lib"))
        .chain(of_llvm)
        .any(|directory| {
            fs_err::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| is_libclang(&entry.file_name().to_string_lossy()))
        })
}

/// Whether a file of this name is taken for libclang, as the crate `clang-sys` does: its C++
/// interface, which Debian has in a package of its own, is none.
fn is_libclang(name: &str) -> bool {
    let library =
        name.starts_with("libclang.so") || name.starts_with("libclang-") && name.contains(".so");
    library && !name.contains("-cpp.")
}

#[cfg(test)]
mod tests {
    use super::is_libclang;

    #[test]
    fn the_interface_for_cpp_is_no_libclang() {
        assert!(is_libclang("libclang.so"));
        assert!(is_libclang("libclang.so.1"));
        assert!(is_libclang("libclang-14.so.1"));
        assert!(is_libclang("libclang-14.so.14.0.6"));
        assert!(!is_libclang("libclang-cpp.so.14"));
        assert!(!is_libclang("libclang_rt.asan-x86_64.so"));
    }
}
