//! Templates and the JSON they write.

use crate::docker::format::{Columns, Format};
use crate::docker::images::{self, ImageOptions};
use crate::docker::inspect;
use crate::docker::rows::ImageSummary;
use crate::docker::template::{Subject, Template};
use serde_json::{Value, json};
use strata_harness::seed::{self, Seed};

fn document() -> Value {
    json!({
        "Id": "sha256:1a",
        "Size": 5,
        "RepoTags": ["a:1", "b:2"],
        "RootFS": { "Type": "layers", "Layers": ["x", "y"] },
        "Config": {
            "Cmd": null,
            "Env": ["PATH=/bin", "A=<b>"],
            "Labels": { "b": "2", "a": "1" },
            "Volumes": null,
            "User": "",
        },
    })
}

fn made(template: &str) -> String {
    let mut out = String::new();
    match Template::parse(template)
        .and_then(|template| template.execute(Subject::Document, &document(), &mut out))
    {
        Ok(()) => out,
        Err(error) => error.to_string(),
    }
}

#[test]
fn templates_make_text() {
    for (template, text) in [
        ("plain", "plain"),
        ("{{.Id}}", "sha256:1a"),
        ("{{ .Id | upper }}-{{lower \"ABC\"}}", "SHA256:1A-abc"),
        ("{{json .RootFS.Layers}}", r#"["x","y"]"#),
        ("{{json .Config.Env}}", r#"["PATH=/bin","A=<b>"]"#),
        (
            "{{json .Config}}",
            r#"{"Cmd":null,"Env":["PATH=/bin","A=<b>"],"Labels":{"b":"2","a":"1"},"Volumes":null,"User":""}"#,
        ),
        ("{{.Config.Env}}", "[PATH=/bin A=<b>]"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ("{{.Config.Cmd}} {{.Config.Volumes}}", "[] map[]"),
        (
            "{{.Config.ExposedPorts}}|{{json .Config.Healthcheck}}",
            "map[]|null",
        ),
        ("{{if .Config.User}}u{{else}}nobody{{end}}", "nobody"),
        ("{{if eq .Size 5 6}}five{{end}}", "five"),
        (
            "{{if gt .Size 7}}a{{else if lt .Size 6}}b{{else}}c{{end}}",
            "b",
        ),
        ("{{range .RepoTags}}{{println .}}{{end}}", "a:1\nb:2\n"),
        (
            "{{range $i, $t := .RepoTags}}{{$i}}={{$t}} {{end}}",
            "0=a:1 1=b:2 ",
        ),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}{{$v}}{{end}}",
            "a1b2",
        ),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        (
            "{{with .RootFS}}{{.Type}} {{$.Id}}{{end}}",
            "layers sha256:1a",
        ),
        (
            "{{index .RepoTags 1}} {{index .Config.Labels \"a\"}}",
            "b:2 1",
        ),
        ("{{len .RepoTags}}", "2"),
        ("{{join .RepoTags \", \"}}", "a:1, b:2"),
        ("{{json (split \"a/b\" \"/\")}}", r#"["a","b"]"#),
        ("{{(index (split .Id \":\") 1) | title}}", "1a"),
        (
            "{{title \"ab cd\"}} {{truncate .Id 6}} [{{pad \"x\" 1 2}}][{{pad \"\" 1 2}}]",
            "Ab Cd sha256 [ x  ][]",
        ),
        ("a  {{- \"b\" -}}  c", "abc"),
        ("a{{/* nothing */}}b", "ab"),
        ("{{$x := .Size}}{{$x}}{{$x = 7}}{{$x}}", "57"),
        (
            "{{printf \"%-4s|%3d|%q\" \"ab\" .Size \"c\"}}",
            "ab  |  5|\"c\"",
        ),
        (
            "{{or .Config.User \"root\"}} {{and 1 .Size}} {{not true}}",
            "root 5 false",
        ),
        ("{{`raw`}}{{true}}{{3}}", "rawtrue3"),
        (
            "{{.}}",
            "map[Config:map[Cmd:<nil> Env:[PATH=/bin A=<b>] Labels:map[a:1 b:2] User: Volumes:<nil>] Id:sha256:1a RepoTags:[a:1 b:2] RootFS:map[Layers:[x y] Type:layers] Size:5]",
        ),
    ] {
        assert_eq!(made(template), text, "{template}");
    }
}

#[test]
fn no_template_makes_us_panic() {
    const PIECES: &[&str] = &[
        "{{",
        "}}",
        "{{-",
        " -}}",
        " ",
        "(",
        ")",
        "|",
        ",",
        "=",
        ":=",
        ".",
        ".Id",
        ".Config",
        "$",
        "$x",
        "\"a\"",
        "\"",
        "`",
        "/*",
        "*/",
        "if",
        "else",
        "end",
        "range",
        "with",
        "1",
        "-9",
        "9999999999",
        "1.5",
        "json",
        "len",
        "index",
        "split",
        "join",
        "pad",
        "truncate",
        "printf",
        "\"%99999999999d%\"",
        "eq",
        "lt",
        "and",
        "not",
        "true",
        "nil",
        "é",
        "\n",
        "text",
        "{{end}}",
        "{{.RepoTags}}",
    ];
    let mut parsed = 0;
    for number in 0..seed::rounds(20_000, 1_000_000) {
        let mut generator = Seed(5).generator(&format!("template {number}"));
        let mut template = String::from("{{");
        for _ in 0..generator.below(14) {
            template.push_str(generator.pick::<&str>(PIECES));
            template.push_str(generator.pick::<&str>(&["", " "]));
        }
        if generator.below(2) == 0 {
            template.push_str("}}");
        }
        parsed += usize::from(Template::parse(&template).is_ok());
        drop(made(&template));
    }
    assert!(parsed > 100, "only {parsed} templates were any");
}

#[test]
fn errors_are_worded_as_docker_words_them() {
    for (template, error) in [
        ("{{.Id", ":1: unclosed action"),
        ("a\n{{.Id", ":2: unclosed action"),
        ("{{foo .Id}}", ":1: function \"foo\" not defined"),
        ("{{if .Id}}", ":1: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{}}", ":1: missing value for command"),
        ("{{$x}}", ":1: undefined variable \"$x\""),
        ("{{\"a}}", ":1: unterminated quoted string"),
        ("{{.Id | }}", ":1: missing value for command"),
        ("{{.Id)}}", ":1: unexpected right paren"),
        (
            "{{.Bogus}}",
            ":1:2: executing \"\" at <.Bogus>: map has no entry for key \"Bogus\"",
        ),
        (
            "{{.Id}} {{.RootFS.Bogus}}",
            ":1:17: executing \"\" at <.RootFS.Bogus>: map has no entry for key \"Bogus\"",
        ),
        (
            "{{.Id.Bogus}}",
            ":1:5: executing \"\" at <.Id.Bogus>: can't evaluate field Bogus in type interface {}",
        ),
        (
            "{{pad .Id}}",
            ":1:2: executing \"\" at <pad>: wrong number of args for pad: want 3 got 1",
        ),
    ] {
        assert_eq!(
            made(template),
            format!("template parsing error: template: {error}"),
            "{template}"
        );
    }
}

#[test]
fn an_unknown_column_is_told_with_its_row() {
    let options = ImageOptions {
        format: Some("{{.Bogus}}".to_owned()),
        ..ImageOptions::default()
    };
    let error = images::write(&[ImageSummary::default()], &options, &super::clock(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template parsing error: template: :1:2: executing \"\" at <.Bogus>: can't evaluate field \
         Bogus in type *formatter.imageContext"
    );
    // With no rows there is nothing to fail on.
    assert_eq!(images::write(&[], &options, &super::clock(0)).unwrap(), "");
}

#[test]
fn headers_are_left_as_they_are() {
    const COLUMNS: Columns = Columns {
        type_name: "*test.row",
        headers: &[("Name", "NAME"), ("Size", "SIZE")],
    };
    let write = |format: &str| {
        let row = vec![("Name", "<a>".to_owned()), ("Size", "1B".to_owned())];
        Format::new(format).write(&COLUMNS, [row]).unwrap()
    };
    assert_eq!(
        write("table {{lower .Size}}\\t{{json .Name}}"),
        "SIZE      NAME\n1b        \"<a>\"\n"
    );
    assert_eq!(
        write("json"),
        "{\"Name\":\"\\u003ca\\u003e\",\"Size\":\"1B\"}\n"
    );
    assert_eq!(write("{{json .Name}}\\n"), "\"<a>\"\n\n");
    assert_eq!(write("table {{json .}}").lines().next(), Some(""));
}

#[test]
fn inspect_prints_a_list_or_a_line_for_each() {
    let objects = [json!({ "Id": "a", "E": [], "M": {}, "L": ["<&>\u{2028}\u{8}"] })];
    assert_eq!(
        inspect::write(&objects, None).unwrap(),
        "[\n    {\n        \"Id\": \"a\",\n        \"E\": [],\n        \"M\": {},\n        \"L\": [\n            \
         \"<&>\\u2028\\u0008\"\n        ]\n    }\n]\n"
    );
    assert_eq!(inspect::write(&[], None).unwrap(), "[]\n");
    assert_eq!(inspect::write(&[], Some("{{.Id}}")).unwrap(), "\n");
    assert_eq!(inspect::write(&objects, Some("{{.Id}}")).unwrap(), "a\n");
    assert_eq!(
        inspect::write(&[json!({ "Id": "a" })], Some("json")).unwrap(),
        "[{\"Id\":\"a\"}]\n"
    );
}
