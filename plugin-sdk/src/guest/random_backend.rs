//! The backend of `getrandom` (0.3 and 0.4 share the hook), for dependencies that want randomness of their own.

use super::imports::random_bytes;

#[allow(unsafe_code, reason = "the hook's signature is getrandom's: it hands over a pointer to `len` writable bytes")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(dest: *mut u8, len: usize) -> Result<(), getrandom::Error> {
    let bytes = random_bytes(len);
    if bytes.len() != len {
        return Err(getrandom::Error::UNEXPECTED);
    }
    // SAFETY: getrandom guarantees that `dest` is valid for writing `len` bytes, and `bytes` has just as many.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), dest, len) };
    Ok(())
}
