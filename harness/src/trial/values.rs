//! Offsets, contents and values of attributes, as operations take them.

use crate::model::operation::Data;
use crate::seed::Generator;

pub(super) fn offset(random: &mut Generator) -> u64 {
    match random.below(10) {
        0 => 0,
        1..=4 => random.below(100) as u64,
        5..=7 => random.below(20_000) as u64,
        8 => 4096 * (1 + random.below(4) as u64),
        // Far enough that the hole before it is seen when it is filled.
        _ if random.below(4) == 0 => 2_800_000 + random.below(300_000) as u64,
        _ => random.below(100_000) as u64,
    }
}

pub(super) fn data(random: &mut Generator) -> Data {
    if random.below(8) == 0 {
        // Equal in several files.
        return Data {
            seed: 1,
            length: 20,
        };
    }
    let length = match random.below(10) {
        0 => 0,
        1..=6 => 1 + random.below(40),
        7..=8 => 1 + random.below(9000),
        _ if random.below(6) == 0 => 60_000 + random.below(100_000),
        _ => 4096,
    };
    Data {
        seed: 1 + random.below(1000) as u32,
        length: length as u32,
    }
}

pub(super) fn value(key: &str, random: &mut Generator) -> Vec<u8> {
    if key == "security.capability" {
        // Revision 2 with the effective bit: `linux/capability.h`.
        let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
        value.extend((1_u32 << random.below(20)).to_le_bytes());
        value.extend([0; 12]);
        return value;
    }
    match random.below(8) {
        0 => Vec::new(),
        // With all others less than what ext4 has room for.
        1 if key == "user.b" => random.bytes(1500),
        1 => random.bytes(200),
        _ => format!("v{}", random.below(1000)).into_bytes(),
    }
}
