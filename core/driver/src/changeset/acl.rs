//! POSIX ACLs in text form (`SCHILY.acl.*`), made into what the kernel stores.
//!
//! The binary form is that of `linux/posix_acl_xattr.h`: a version, then tag, permissions and id of
//! each entry, all little-endian, in the order that `posix_acl_valid` of the kernel wants.

use super::error::{CodecErrorKind, Malformed, Rule};

const VERSION: u32 = 2;
const USER_OBJECT: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJECT: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// One entry of an ACL; sorts as the kernel wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct AclEntry {
    tag: u16,
    id: u32,
    permissions: u16,
}

/// Makes the value of `system.posix_acl_*` from text such as
/// `user::rwx,user:lisa:r-x:500,group::r-x,mask::r-x,other::---`.
///
/// Entries are parted by commas or newlines, `#` begins a comment. A user or group is known by its
/// number alone: in the second field, or in the fourth where star writes it. `None` means that the
/// text says no more than permission bits do.
pub(super) fn from_text(text: &[u8]) -> Result<Option<Vec<u8>>, CodecErrorKind> {
    let mut entries = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        for field in line.split(|&byte| byte == b',') {
            let field = field.trim_ascii();
            if !field.is_empty() {
                entries.push(parse_entry(field)?);
            }
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    entries.sort_unstable();
    let once = |tag| entries.iter().filter(|entry| entry.tag == tag).count() == 1;
    let masks = entries.iter().filter(|entry| entry.tag == MASK).count();
    let named = entries
        .iter()
        .any(|entry| entry.tag == USER || entry.tag == GROUP);
    let doubled = entries
        .windows(2)
        .any(|pair| (pair[0].tag, pair[0].id) == (pair[1].tag, pair[1].id));
    if doubled || ![USER_OBJECT, GROUP_OBJECT, OTHER].into_iter().all(once) || (named && masks == 0)
    {
        return Err(Malformed::Acl.into());
    }
    let mut value = Vec::with_capacity(4 + 8 * entries.len());
    value.extend_from_slice(&VERSION.to_le_bytes());
    for entry in &entries {
        value.extend_from_slice(&entry.tag.to_le_bytes());
        value.extend_from_slice(&entry.permissions.to_le_bytes());
        value.extend_from_slice(&entry.id.to_le_bytes());
    }
    Ok(Some(value))
}

/// Whether an access ACL has only the three entries that permission bits hold: the kernel keeps no
/// such attribute.
pub(super) fn is_minimal(value: &[u8]) -> bool {
    value.len() == 4 + 3 * 8
}

fn parse_entry(field: &[u8]) -> Result<AclEntry, CodecErrorKind> {
    let mut parts = field.split(|&byte| byte == b':').map(<[u8]>::trim_ascii);
    let mut tag = parts.next().unwrap_or_default();
    if matches!(tag, b"default" | b"d") {
        tag = parts.next().unwrap_or_default();
    }
    let qualifier = parts.next().ok_or(Malformed::Acl)?;
    // `other` and `mask` may leave out the empty qualifier.
    let (qualifier, permissions) = match parts.next() {
        Some(permissions) => (qualifier, permissions),
        None if matches!(tag, b"other" | b"o" | b"mask" | b"m") => (&b""[..], qualifier),
        None => return Err(Malformed::Acl.into()),
    };
    let numeric = parts.next();
    let named = !qualifier.is_empty();
    let tag = match tag {
        b"user" | b"u" => [USER_OBJECT, USER][usize::from(named)],
        b"group" | b"g" => [GROUP_OBJECT, GROUP][usize::from(named)],
        b"mask" | b"m" if !named => MASK,
        b"other" | b"o" if !named => OTHER,
        _ => return Err(Malformed::Acl.into()),
    };
    let id = match (named, numeric) {
        (false, _) => NO_ID,
        (true, Some(id)) => parse_id(id).ok_or(Malformed::Acl)?,
        (true, None) => parse_id(qualifier).ok_or(Rule::AclName)?,
    };
    Ok(AclEntry {
        tag,
        id,
        permissions: parse_permissions(permissions)?,
    })
}

fn parse_id(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let id: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (id != NO_ID).then_some(id)
}

fn parse_permissions(text: &[u8]) -> Result<u16, CodecErrorKind> {
    let mut permissions = 0;
    for &byte in text {
        permissions |= match byte {
            b'r' => 4,
            b'w' => 2,
            b'x' => 1,
            b'-' => 0,
            _ => return Err(Malformed::Acl.into()),
        };
    }
    Ok(permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_text_reads_numbers_in_either_field() {
        let star = from_text(b"user::rwx,user:lisa:r-x:500,group::r-x,mask::r-x,other::---");
        let numeric = from_text(
            b"user::rwx\nuser:500:r-x\ngroup::r-x\t#effective:r-x\nmask::r-x\nother::---\n",
        );
        let value = star.unwrap().unwrap();
        assert_eq!(numeric.unwrap().unwrap(), value);
        let shuffled = from_text(b"o::---,m::r-x,u:500:r-x,g::r-x,u::rwx");
        assert_eq!(shuffled.unwrap().unwrap(), value);
        assert_eq!(
            hex::encode(value),
            "02000000\
             01000700ffffffff\
             02000500f4010000\
             04000500ffffffff\
             10000500ffffffff\
             20000000ffffffff"
        );
    }

    #[test]
    fn from_text_refuses_names_without_numbers() {
        let result = from_text(b"user::rwx,user:lisa:r-x,group::r-x,mask::r-x,other::---");
        assert_eq!(result, Err(Rule::AclName.into()));
    }

    #[test]
    fn from_text_refuses_what_the_kernel_would() {
        for text in [
            &b"user::rwx,group::r-x"[..],
            b"user::rwx,user:1:rwx,group::r-x,other::---",
            b"user::rwx,user::rwx,group::r-x,other::---",
            b"user::rwx,user:1:r--,user:1:rwx,group::r-x,mask::r-x,other::---",
            b"user::rwz,group::r-x,other::---",
            b"user::rwx,group::r-x,other:9:---",
            b"nonsense",
        ] {
            assert_eq!(
                from_text(text),
                Err(Malformed::Acl.into()),
                "{}",
                text.escape_ascii()
            );
        }
    }
}
