//! Test suites of others on every driver's mounts: pjdfstest and fsx.

fn main() -> std::process::ExitCode {
    strata_harness::suites::main(strata_drivers::registry().factories())
}
