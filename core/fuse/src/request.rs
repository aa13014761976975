//! A request as it came from the kernel, taken apart from front to back.

use crate::filesystem::Made;
use crate::types::{Caller, Handle, NodeId, RenameFlags, SetAttr, TimeChange};
use crate::wire::{InHeader, SetAttrIn, fattr};
use rustix::io::Errno;
use std::ffi::CStr;
use zerocopy::FromBytes;

/// The header of a request, and what has not been taken of the rest.
pub(crate) struct Request<'a> {
    pub(crate) header: InHeader,
    rest: &'a [u8],
}

impl<'a> Request<'a> {
    /// `bytes` is what one read of the device gave.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Errno> {
        let (header, rest) = InHeader::read_from_prefix(bytes).map_err(|_| Errno::INVAL)?;
        Ok(Self { header, rest })
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.header.node)
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller {
            uid: self.header.uid,
            gid: self.header.gid,
            pid: self.header.pid,
        }
    }

    /// The next structure; `EINVAL` if there is less than that.
    pub(crate) fn take<T: FromBytes>(&mut self) -> Result<T, Errno> {
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| Errno::INVAL)?;
        self.rest = rest;
        Ok(value)
    }

    /// The next string, which ends with a NUL.
    pub(crate) fn string(&mut self) -> Result<&'a CStr, Errno> {
        let string = CStr::from_bytes_until_nul(self.rest).map_err(|_| Errno::INVAL)?;
        self.rest = &self.rest[string.count_bytes() + 1..];
        Ok(string)
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: u32) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length as usize)
            .ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// The modes of what is no device.
pub(crate) fn made(mode: u32, umask: u32) -> Made {
    Made {
        mode,
        umask,
        rdev: (0, 0),
    }
}

/// `new_decode_dev` of `linux/kdev_t.h`: major and minor number.
pub(crate) fn decode_device(device: u32) -> (u32, u32) {
    (
        (device & 0xf_ff00) >> 8,
        (device & 0xff) | ((device >> 12) & 0xf_ff00),
    )
}

/// `new_encode_dev`.
pub(crate) fn encode_device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// `EINVAL` for flags that no one here knows.
pub(crate) fn rename_flags(bits: u32) -> Result<RenameFlags, Errno> {
    // RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT.
    if bits & !7 != 0 {
        return Err(Errno::INVAL);
    }
    Ok(RenameFlags {
        no_replace: bits & 1 != 0,
        exchange: bits & 2 != 0,
        whiteout: bits & 4 != 0,
    })
}

pub(crate) fn changes(asked: &SetAttrIn) -> SetAttr {
    let has = |bit| asked.valid & bit != 0;
    let time = |set, now, seconds: u64, nanoseconds| match (has(set), has(now)) {
        (_, true) => Some(TimeChange::Now),
        (true, false) => Some(TimeChange::To(seconds.cast_signed(), nanoseconds)),
        (false, false) => None,
    };
    SetAttr {
        mode: has(fattr::MODE).then_some(asked.mode & 0o7777),
        uid: has(fattr::UID).then_some(asked.uid),
        gid: has(fattr::GID).then_some(asked.gid),
        size: has(fattr::SIZE).then_some(asked.size),
        atime: time(
            fattr::ATIME,
            fattr::ATIME_NOW,
            asked.atime,
            asked.atime_nanoseconds,
        ),
        mtime: time(
            fattr::MTIME,
            fattr::MTIME_NOW,
            asked.mtime,
            asked.mtime_nanoseconds,
        ),
        ctime: has(fattr::CTIME).then_some((asked.ctime.cast_signed(), asked.ctime_nanoseconds)),
        handle: has(fattr::FH).then_some(Handle(asked.handle)),
        // The kernel asks so, with no bit at all, before a write by passthrough, of which the file
        // system does not hear otherwise (file_remove_privs, of which fuse_setattr drops the rest).
        kill_suidgid: has(fattr::KILL_SUIDGID) || asked.valid & !fattr::FH == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_the_wire() {
        for device in [(0, 0), (8, 1), (259, 70_000), (4095, 0xf_ffff)] {
            assert_eq!(decode_device(encode_device(device)), device);
        }
        assert_eq!(encode_device((8, 1)), 0x801);
    }

    #[test]
    fn short_requests_are_refused() {
        assert!(Request::parse(&[0; 39]).is_err());
        let mut request = Request::parse(&[0; 44]).unwrap();
        assert_eq!(request.take::<u64>(), Err(Errno::INVAL));
        assert_eq!(request.bytes(5), Err(Errno::INVAL));
        assert_eq!(request.string(), Ok(c""));
        assert_eq!(request.take::<[u8; 3]>(), Ok([0; 3]));
        assert_eq!(request.string(), Err(Errno::INVAL));
    }

    #[test]
    fn unknown_rename_flags_are_refused() {
        assert!(rename_flags(3).unwrap().exchange);
        assert_eq!(rename_flags(8), Err(Errno::INVAL));
    }
}
