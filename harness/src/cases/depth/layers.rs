//! Many layers.

use crate::prelude::*;
use std::path::Path;

/// Every so many layers one leaves a directory for good; the others' are removed again, so that
/// the tree stays small however it is stored.
const KEPT: usize = 20;

/// Layers of which each writes `top` and a directory of its own; each is checked on the way.
fn tower(context: &mut Context, height: usize) -> Result<SnapshotName> {
    let mut top: Option<SnapshotName> = None;
    for number in 0..height {
        let layer = context.layer(top.as_ref(), |dir| {
            if let Some(below) = number.checked_sub(1) {
                let seen = dir.read("top")?;
                ensure!(
                    seen == below.to_string().as_bytes(),
                    "layer {number} sees {seen:?}"
                );
                if below % KEPT != 0 {
                    dir.remove_tree(format!("layer-{below}"))?;
                }
            }
            dir.file("top", number.to_string())?;
            dir.dir(format!("layer-{number}"))?;
            dir.file(format!("layer-{number}/id"), number.to_string())
                .map(drop)
        })?;
        top = Some(layer);
    }
    top.context("no layers")
}

fn expect_whole(context: &mut Context, top: &SnapshotName, height: usize) -> Result<()> {
    let key = context.active(Some(top))?;
    let live = context.mount(&key)?;
    let last = height - 1;
    ensure!(
        live.read("top")? == last.to_string().as_bytes(),
        "the wrong layer is on top"
    );
    let kept: Vec<_> = (0..height)
        .filter(|number| number % KEPT == 0 || *number == last)
        .collect();
    for number in &kept {
        let id = live.read(format!("layer-{number}/id"))?;
        ensure!(
            id == number.to_string().as_bytes(),
            "layer {number} reads {id:?}"
        );
    }
    ensure!(
        live.names(".")?.len() == kept.len() + 1,
        "{:?}",
        live.names(".")
    );
    live.file("written", "1")?.remove_tree("layer-0")?;
    ensure!(
        live.names(".")?.len() == kept.len() + 1,
        "{:?}",
        live.names(".")
    );
    live.unmount()
}

/// Upstream: `DeepLayerRead` of graphtest, `128LayersMount` of containerd.
pub(crate) const LAYERS_128: Case = Case {
    name: "layers_128",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        let top = tower(context, 128)?;
        expect_whole(context, &top, 128)
    },
};

pub(crate) const LAYERS_500: Case = Case {
    name: "layers_500",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        let height = allowed_height(context, 500)?;
        let top = tower(context, height)?;
        expect_whole(context, &top, height)
    },
};

/// A root whose path is far longer than an option of a mount: it works at full height, or the
/// longest ones are refused, and one that is longer than fsconfig(2) takes at once works.
pub(crate) const LONG_ROOT_WITH_500_LAYERS: Case = Case {
    name: "long_root_with_500_layers",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        let mut deep = match context.elsewhere_named(&path_up_to(context, 3000)) {
            Ok(deep) => deep,
            Err(error) => {
                let refused = error.downcast::<strata_driver::Error>()?;
                ensure!(
                    refused.kind() == ErrorKind::InvalidInput && refused.hint_text().is_some(),
                    "refused without a way out: {refused:?}"
                );
                context.elsewhere_named(&path_up_to(context, 400))?
            }
        };
        let height = allowed_height(&deep, 500)?;
        let top = tower(&mut deep, height)?;
        expect_whole(&mut deep, &top, height)?;
        let key = deep.active(Some(&top))?;
        deep.apply(
            &key,
            &archive(&[Entry::whiteout("top"), Entry::file("applied", "1")]),
        )?;
        let layer = deep.commit_fresh(&key)?;
        ensure!(
            deep.changes(Some(&top), &layer)?.len() == 2,
            "wrong changes"
        );
        deep.reopen()?;
        ensure!(
            deep.stat(&layer)?.parent.as_ref() == Some(&top),
            "the parent is lost"
        );
        deep.shut()
    },
};

/// A relative path that makes the root's of about `length` bytes.
fn path_up_to(context: &Context, length: usize) -> std::path::PathBuf {
    let component = "r".repeat(100);
    // The place of another instance, beside the root.
    let mut taken = context.root().as_os_str().len() + "/elsewhere-1/above".len();
    let mut root = std::path::PathBuf::new();
    while taken + component.len() < length {
        root.push(&component);
        taken += component.len() + 1;
    }
    root
}

/// 500, or what the driver declares if that is less: never below 128.
fn allowed_height(context: &Context, wanted: usize) -> Result<usize> {
    let most = context
        .capabilities()
        .limits
        .max_depth
        .map_or(wanted, |most| most as usize);
    ensure!(
        most >= 128,
        "a driver must carry 128 layers, this one says {most}"
    );
    Ok(wanted.min(most))
}

/// What separates values in mount options is a letter like any other in a root's path.
pub(crate) const ROOT_PATH_OF_SPECIAL_LETTERS: Case = Case {
    name: "root_path_of_special_letters",
    group: Group::Depth,
    needs: &[],
    run: |context| {
        for root in [
            "a:b",
            "a,b",
            "a\\b",
            "a b",
            "a\\:b,c=d",
            "ä\u{1F980}",
            "a'\"b",
            "%s",
            "a\nb",
        ] {
            let mut special = context.elsewhere_named(Path::new(root))?;
            let what = || format!("in a root called {root:?}");
            let base = special
                .layer(None, |dir| dir.file("f", "1").map(drop))
                .with_context(what)?;
            let top = special
                .layer(Some(&base), |dir| dir.append("f", "2")?.dir("d").map(drop))
                .with_context(what)?;
            special.checked_diff(Some(&base), &top).with_context(what)?;
            let tree = special.tree(&top).with_context(what)?;
            ensure!(tree.node("f")?.size == 2, "{}: wrong content", what());
            special.reopen().with_context(what)?;
            special
                .tree(&top)
                .with_context(what)?
                .expect_equal(&tree, "after opening again")?;
            special.shut()?;
        }
        Ok(())
    },
};
