//! Opening a driver where it does not belong.

use crate::prelude::*;
use strata_driver::catalog::{Catalog, CatalogOptions};
use strata_driver::{DriverName, Durability, OpenOptions};

/// Opens a driver with `options`; it must be refused.
fn refused(
    context: &Context,
    options: &OpenOptions,
    kinds: &[ErrorKind],
    what: &str,
) -> Result<String> {
    let setting = context.setting();
    let opened = setting.factory.open(options, &setting.host);
    let error = expect_one_of(opened, kinds, what)?;
    Ok(format!(
        "{} {}",
        error.chain(),
        error.hint_text().unwrap_or_default()
    ))
}

pub(crate) const OPEN_REFUSES_FOREIGN_ROOT: Case = Case {
    name: "open_refuses_foreign_root",
    group: Group::Input,
    needs: &[],
    run: |context| {
        let root = context.path("foreign");
        let other = DriverName::new("another")?;
        let options = CatalogOptions {
            driver: &other,
            durability: Durability::Volatile,
        };
        drop(Catalog::open(&root, &options)?);
        let mut open = context.setting().open.clone();
        open.root = root;
        let text = refused(
            context,
            &open,
            &[ErrorKind::InvalidInput],
            "another driver's root",
        )?;
        let own = context.setting().factory.name();
        for name in [other.as_str(), own.as_str()] {
            ensure!(
                text.contains(name),
                "the error does not name `{name}`: {text}"
            );
        }
        Ok(())
    },
};

/// A directory that holds somebody's files is not made a root of.
pub(crate) const OPEN_REFUSES_OTHER_FILES: Case = Case {
    name: "open_refuses_other_files",
    group: Group::Input,
    needs: &[],
    run: |context| {
        let plain = context.plain_dir()?;
        plain.file("letter", "dear reader")?;
        let before = Tree::read(plain.path())?;
        let mut open = context.setting().open.clone();
        plain.path().clone_into(&mut open.root);
        refused(
            context,
            &open,
            &[ErrorKind::InvalidInput],
            "a directory with files",
        )?;
        Tree::read(plain.path())?.expect_equal(&before, "the directory")?;
        open.root = plain.at("letter");
        let kinds = [
            ErrorKind::InvalidInput,
            ErrorKind::Other,
            ErrorKind::Unavailable,
        ];
        refused(context, &open, &kinds, "a file")?;
        open.root = plain.at("missing/parent");
        let kinds = [
            ErrorKind::InvalidInput,
            ErrorKind::NotFound,
            ErrorKind::Other,
        ];
        let text = refused(context, &open, &kinds, "a root whose parent is missing")?;
        ensure!(
            text.contains("missing/parent"),
            "the error does not name it: {text}"
        );
        Tree::read(plain.path())?.expect_equal(&before, "the directory")
    },
};

pub(crate) const OPEN_REFUSES_UNKNOWN_SETTINGS: Case = Case {
    name: "open_refuses_unknown_settings",
    group: Group::Input,
    needs: &[],
    run: |context| {
        let root = context.path("fresh");
        let mut open = context.setting().open.clone();
        open.root.clone_from(&root);
        let open = open.with_setting("no-such-setting", "1");
        let text = refused(
            context,
            &open,
            &[ErrorKind::InvalidInput],
            "an unknown setting",
        )?;
        ensure!(
            text.contains("no-such-setting"),
            "the error does not name it: {text}"
        );
        for option in context.setting().factory.options() {
            ensure!(
                text.contains(option.key),
                "the error does not name the option `{}` that there is: {text}",
                option.key
            );
        }
        ensure!(!root.exists(), "a root was made for it");
        Ok(())
    },
};

/// Facts that are constant once a driver is open.
pub(crate) const DRIVER_TELLS_WHO_IT_IS: Case = Case {
    name: "driver_tells_who_it_is",
    group: Group::Input,
    needs: &[],
    run: |context| {
        let factory = context.setting().factory.clone();
        let info = context.driver().info().clone();
        ensure!(
            info.name == factory.name(),
            "`{}` opened `{}`",
            factory.name(),
            info.name
        );
        ensure!(
            fs_err::canonicalize(&info.root)? == fs_err::canonicalize(context.root())?,
            "{info:?}"
        );
        ensure!(
            !info.backing.is_empty() && !factory.summary().is_empty(),
            "{info:?}"
        );
        let capabilities = context.capabilities().clone();
        for capability in Capability::ALL {
            let told = capabilities
                .absent
                .iter()
                .any(|(absent, reason)| absent == capability && !reason.is_empty());
            ensure!(
                capabilities.has(*capability) != told,
                "`{}` is neither there nor absent for a reason, or both",
                capability.as_str()
            );
        }
        context.reopen()?;
        ensure!(
            *context.capabilities() == capabilities,
            "capabilities changed"
        );
        ensure!(*context.driver().info() == info, "facts changed");
        Ok(())
    },
};
