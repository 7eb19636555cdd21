//! Puts a manifest into a component, for languages whose tools cannot. The Rust SDK's macro does it while compiling.

use throughline_domain::connector::PluginError;
use throughline_schemas::manifest::MANIFEST_SECTION;

use crate::manifest::inspect;

/// The id of a custom section.
const CUSTOM: u8 = 0;

/// The component with this manifest, JSON text; refused if the two do not fit together, or if it has another manifest already.
pub fn embed(component: &[u8], manifest: &[u8]) -> Result<Vec<u8>, PluginError> {
    let mut content = leb128(MANIFEST_SECTION.len());
    content.extend_from_slice(MANIFEST_SECTION.as_bytes());
    content.extend_from_slice(manifest);
    let mut whole = component.to_vec();
    whole.push(CUSTOM);
    whole.extend(leb128(content.len()));
    whole.extend(content);
    inspect(&whole)?;
    Ok(whole)
}

/// Unsigned LEB128, as WebAssembly writes lengths.
fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits fit into a byte");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_webassembly_reads_them() {
        for (value, bytes) in [(0, &[0_u8][..]), (127, &[127]), (128, &[128, 1]), (300, &[172, 2]), (65_536, &[128, 128, 4])] {
            assert_eq!(leb128(value), bytes, "{value}");
        }
    }
}
