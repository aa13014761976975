//! Tests of the parser, on streams made by hand and by the kernel.

use super::*;
use proptest::prelude::*;

/// What the kernel (Linux 6.18) said of small changes, by `btrfs send --no-data -p`: edits of all
/// kinds, and two directories in each other's places.
const RECORDED: [(&str, &[u8]); 2] = [
    ("edits", include_bytes!("../../../tests/streams/edits.bin")),
    ("swap", include_bytes!("../../../tests/streams/swap.bin")),
];

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn command(number: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = attributes
        .iter()
        .flat_map(|(kind, value)| attribute(*kind, value))
        .collect();
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&body);
    bytes
}

fn stream(commands: &[Vec<u8>]) -> Vec<u8> {
    let header = [MAGIC, &1_u32.to_le_bytes()].concat();
    [header, commands.concat()].concat()
}

/// The commands as text; pieces of `piece` bytes.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, Malformed> {
    let mut parser = Parser::default();
    let mut commands = Vec::new();
    for piece in bytes.chunks(piece) {
        parser.feed(piece, |command| {
            commands.push(format!("{command:?}"));
            Ok(())
        })?;
    }
    parser.finish()?;
    Ok(commands)
}

fn end() -> Vec<u8> {
    command(21, &[])
}

#[test]
fn commands_are_told_apart() {
    let bytes = stream(&[
        command(2, &[(15, b"any/../name"), (1, &[7; 16])]),
        command(4, &[(15, b"o1-2-0"), (3, &[0; 8])]),
        command(9, &[(15, b"o1-2-0"), (16, b"d")]),
        command(10, &[(15, b"d/l"), (17, b"f")]),
        command(12, &[(15, b"gone")]),
        command(20, &[(15, b"")]),
        command(8, &[(15, b"s"), (17, b"/any/../target")]),
        end(),
    ]);
    let mut found = Vec::new();
    let mut parser = Parser::default();
    parser
        .feed(&bytes, |command| {
            found.push(match command {
                Command::Made { path, directory } => (path.to_vec(), vec![u8::from(directory)]),
                Command::Moved { from, to } => (from.to_vec(), to.to_vec()),
                Command::Linked { path, target } => (path.to_vec(), target.to_vec()),
                Command::Removed { path } | Command::Touched { path } => (path.to_vec(), vec![]),
            });
            Ok(())
        })
        .unwrap();
    parser.finish().unwrap();
    let wanted: [(&[u8], &[u8]); 6] = [
        (b"o1-2-0", &[1]),
        (b"o1-2-0", b"d"),
        (b"d/l", b"f"),
        (b"gone", b""),
        (b"", b""),
        (b"s", &[0]),
    ];
    assert_eq!(
        found,
        wanted.map(|(one, other)| (one.to_vec(), other.to_vec()))
    );
}

#[test]
fn what_is_not_understood_is_an_error() {
    let long = vec![b'n'; 256];
    let deep = b"a/".repeat(2048);
    let cases: [(Vec<u8>, Malformed); 17] = [
        (b"btrfs-strewn".to_vec(), Malformed::Magic),
        (
            [MAGIC, &2_u32.to_le_bytes()].concat(),
            Malformed::Version(2),
        ),
        (stream(&[]), Malformed::CutShort),
        (stream(&[command(22, &[(15, b"a")])]), Malformed::CutShort),
        (stream(&[end()])[..26].to_vec(), Malformed::CutShort),
        (stream(&[end(), vec![0]]), Malformed::AfterEnd),
        (stream(&[command(0, &[])]), Malformed::UnknownCommand(0)),
        (
            stream(&[command(23, &[(15, b"a")])]),
            Malformed::UnknownCommand(23),
        ),
        (stream(&[command(11, &[])]), Malformed::Attributes(11)),
        (
            stream(&[command(9, &[(15, b"a")])]),
            Malformed::Attributes(9),
        ),
        (
            stream(&[command(11, &[(15, b"a"), (15, b"a")])]),
            Malformed::Attributes(11),
        ),
        (
            stream(&[command(11, &[(15, b"a"), (25, b"")])]),
            Malformed::Attributes(11),
        ),
        (stream(&[command(11, &[(15, b"")])]), Malformed::Path(11)),
        (
            stream(&[command(11, &[(15, b"a/../b")])]),
            Malformed::Path(11),
        ),
        (stream(&[command(11, &[(15, &long)])]), Malformed::Path(11)),
        (stream(&[command(11, &[(15, &deep)])]), Malformed::Path(11)),
        (stream(&[vec![0xff; 10]]), Malformed::TooLong(0xffff_ffff)),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(read(&bytes, 64), Err(wanted), "{}", bytes.escape_ascii());
    }
}

#[test]
fn recorded_streams_are_understood_in_pieces_of_any_length() {
    for (name, bytes) in RECORDED {
        let whole = read(bytes, bytes.len()).unwrap();
        assert!(whole.len() > 5, "{name}: {whole:?}");
        for piece in [1, 2, 7, 64, 1000] {
            assert_eq!(read(bytes, piece).unwrap(), whole, "{name} by {piece}");
        }
        for length in 0..bytes.len() {
            read(&bytes[..length], 64).unwrap_err();
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_commands_or_an_error(bytes: Vec<u8>, piece in 1_usize..100) {
        drop(read(&bytes, piece));
        drop(read(&[stream(&[]), bytes].concat(), piece));
    }

    #[test]
    fn damaged_streams_end_in_commands_or_an_error(
        which in 0..RECORDED.len(),
        damage: Vec<(prop::sample::Index, u8)>,
        piece in 1_usize..5000,
    ) {
        let mut bytes = RECORDED[which].1.to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let mut parser = Parser::default();
        let mut replay = super::super::names::Replay::default();
        let fed = bytes
            .chunks(piece)
            .try_for_each(|piece| parser.feed(piece, |command| replay.apply(command)));
        if fed.is_ok() {
            prop_assert!(parser.pending.len() < COMMAND_MOST + COMMAND_HEADER);
            replay.into_names().unwrap();
        }
    }
}
