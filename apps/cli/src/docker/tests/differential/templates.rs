//! Templates given to both, right ones and wrong ones. Docker has kept these from 20.10 to 28.

use super::data::DataSet;
use super::engine::StandIn;
use super::{Docker, docker, output};
use crate::docker::images::{self, ImageOptions};
use crate::docker::inspect;
use crate::docker::units::Clock;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

const OF_A_DOCUMENT: &[&str] = &[
    "{{.Id}}",
    "{{ .Id | upper }}-{{lower \"ABC\"}}",
    "{{json .RootFS.Layers}}",
    "{{json .Config.Env}}",
    "{{.Config.Env}} {{.Config.Labels}}",
    "{{.Config.Cmd}} {{.Config.Volumes}} {{.Config.ExposedPorts}} {{.Config.Healthcheck}}",
    "{{json .Config.Healthcheck}} {{json .Config.ExposedPorts}} {{json .Config.Cmd}}",
    "{{if .Config.User}}u{{else}}nobody{{end}}",
    "{{if eq .Size 5}}five{{end}}",
    "{{if eq .Size 5 6}}five{{end}}",
    "{{if ne .Id \"x\"}}not{{end}}",
    "{{if gt .Size 7}}a{{else if lt .Size 6}}b{{else}}c{{end}}",
    "{{range .RepoTags}}{{println .}}{{end}}",
    "{{range $i, $t := .RepoTags}}{{$i}}={{$t}} {{end}}",
    "{{range $k, $v := .Config.Labels}}{{$k}}{{$v}}{{end}}",
    "{{range .Config.Cmd}}x{{else}}none{{end}}",
    "{{with .RootFS}}{{.Type}} {{$.Id}}{{end}}{{with .Config.User}}u{{else}}no{{end}}",
    "{{index .RepoTags 1}} {{index .Config.Labels \"a\"}}[{{index .Config.Labels \"zz\"}}]",
    "{{len .RepoTags}} {{len .Id}} {{len .Config.Labels}}",
    "{{join .RepoTags \", \"}}",
    "{{json (split \"a/b\" \"/\")}} {{split \"a/b\" \"/\"}}",
    "{{(index (split .Id \":\") 1) | title}}",
    "{{title \"ab cd_ef-gh\"}} {{truncate .Id 6}} [{{pad \"x\" 1 2}}][{{pad \"\" 1 2}}]",
    "a  {{- \"b\" -}}  c",
    "a{{/* nothing */}}b  {{- /* x */ -}}  c",
    "{{$x := .Size}}{{$x}}{{$x = 7}}{{$x}}",
    "{{printf \"%-4s|%3d|%q|%%|%v\" \"ab\" .Size \"c\" .RepoTags}}",
    "{{or .Config.User \"root\"}} {{and 1 .Size}} {{not true}} {{or false 0}}",
    "{{`raw`}}{{true}}{{3}}{{\"q\\\"\\n\"}}",
    "{{print 1 2 \"a\" \"b\" 3}}|{{println 1 \"a\"}}|{{print .Size .Size}}",
    "{{.Config.Cmd | json}} {{.Config | len}}",
    "{{.RootFS.Type}}{{$.RootFS.Type}}{{(.RootFS).Type}}",
    "{{if and .Id (eq .Os \"linux\") (not .Config.User)}}yes{{end}}",
    "{{.Bogus}}",
    "{{.Config.Bogus}}",
    "{{.Id}} {{.RootFS.Bogus}}",
    "{{.Id.Bogus}}",
    "{{pad .Id}}",
    "{{upper}}",
    "{{.Id",
    "{{foo .Id}}",
    "{{if .Id}}",
    "{{end}}",
    "{{else}}",
    "{{}}",
    "{{$x}}",
    "{{\"a}}",
    "{{| .Id}}",
    "{{(.Id}}",
    "{{index .RepoTags 9}}",
    "{{index .Id \"a\"}}",
    "{{upper .Size}}",
    "{{join .Id \",\"}}",
    "{{.Id .Os}}",
    "{{.Id | .Os}}",
    "{{1 .Os}}",
    "{{if}}x{{end}}",
    "{{if .Id}}a{{else}}b{{else}}c{{end}}",
    "{{range .RepoTags}}",
    "{{/* x }}",
    "{{`raw}}",
    "{{1x}}",
    "{{@}}",
    "{{.Id}}}}",
    "{{nil}}",
    "{{:}}",
    "{{$a, $b := .Id}}",
    "{{.RepoTags.X}}",
];

const OF_ROWS: &[&str] = &[
    "{{.Bogus}}",
    "{{.ID}} {{.Tag.Bogus}}",
    "\\n\\n {{.Bogus}}",
    "table {{.ID}}\\t{{.Bogus}}",
    "table {{json .}}",
    "table {{upper .ID}}\\t{{pad .Tag 2 2}}\\t{{join (split .Tag \"a\") \"b\"}}",
    "{{.Size | printf \"%10s|\"}}",
    "{{json .Tag}} {{json (split .Tag \".\")}}",
    "table {{.ID",
    "table",
    "tables {{.ID}}",
    "",
    " {{.ID}} ",
    "{{range .Tag}}x{{end}}",
    "{{if (eq .Tag \"latest\")}}a{{end}}",
    "{{index .Tag 0}}",
];

fn document() -> Value {
    json!({
        "Id": "sha256:1a",
        "RepoTags": ["a:1", "b:2"],
        "RepoDigests": [],
        "Parent": "",
        "Comment": "",
        "Created": "2026-11-24T04:10:32.133369527Z",
        "DockerVersion": "",
        "Author": "",
        "Config": {
            "Cmd": null,
            "Env": ["PATH=/bin", "A=<b>&"],
            "Labels": { "b": "2", "a": "1" },
            "Volumes": null,
            "User": "",
            "Entrypoint": [],
        },
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 5,
        "VirtualSize": 5,
        "GraphDriver": { "Data": null, "Name": "overlay2" },
        "RootFS": { "Type": "layers", "Layers": ["x", "y"] },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
    })
}

fn image() -> Value {
    json!([{
        "Id": "sha256:1a", "RepoTags": ["a:1.5"], "RepoDigests": [], "Created": 0, "Size": 5,
        "VirtualSize": 5, "SharedSize": -1, "Containers": -1,
    }])
}

/// What is printed, and what is said of an error.
fn theirs(command: &[&str], docker: &Docker, place: &std::path::Path) -> (String, String) {
    let output = output(docker, command, "UTC", place);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr).trim_end().to_owned(),
    )
}

#[test]
fn docker_understands_the_same_templates() {
    let docker = match docker(20..=28) {
        Ok(docker) => docker,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let place = tempfile::tempdir().unwrap();
    let engine = StandIn::start(&place.path().join("socket"));
    let data = DataSet {
        document: document(),
        images: image(),
        ..DataSet::default()
    };
    engine.answer_with(&data);
    let clock = Clock {
        now: Timestamp::now(),
        zone: TimeZone::UTC,
    };
    let mut differences = Vec::new();
    let mut compare = |command: &[&str], ours: Result<String, _>| {
        let theirs = theirs(command, &docker, place.path());
        let (out, error) = match ours {
            Ok(text) => (text, String::new()),
            Err(error) => (
                String::new(),
                crate::docker::template::TemplateError::to_string(&error),
            ),
        };
        if (out.trim_end(), error.as_str()) != (theirs.0.trim_end(), theirs.1.as_str()) {
            differences.push(format!(
                "{command:?}\n docker: {theirs:?}\n ours:   {:?}",
                (out, error)
            ));
        }
    };
    for format in OF_A_DOCUMENT {
        let ours = inspect::write(&[document()], Some(format));
        compare(&["image", "inspect", "--format", format, "x"], ours);
    }
    compare(
        &["image", "inspect", "x"],
        inspect::write(&[document()], None),
    );
    for format in OF_ROWS {
        let options = ImageOptions {
            format: Some((*format).to_owned()),
            ..ImageOptions::default()
        };
        let ours = images::write(&data.images(), &options, &clock);
        compare(&["images", "--format", format], ours);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
