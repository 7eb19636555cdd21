//! The wasm side: bindings generated from the WIT world, and the adapters between them and the traits.
//!
//! Each exportable interface has a world of its own, whose `export!` macro embeds its part of the component's type. What a plugin does not
//! name in [`export!`](crate::export!) is thereby not exported. All worlds share one set of types.

mod adapter;
mod convert;
pub(crate) mod imports;
#[cfg(feature = "getrandom")]
mod random_backend;

pub use adapter::Adapter;
pub use bindings::*;

/// What `wit-bindgen` makes of the world; its output is not ours to lint.
#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    reason = "generated: the ABI's memory accesses are unsafe by nature, and the WIT holds the documentation"
)]
mod bindings {
    /// All imports, and the types that everything shares.
    pub mod host {
        wit_bindgen::generate!({ path: "../schemas/wit/0.1.0", world: "imports", generate_all });
    }

    macro_rules! exported {
        ($module:ident, $inline:literal) => {
            pub mod $module {
                wit_bindgen::generate!({
                    path: "../schemas/wit/0.1.0",
                    inline: $inline,
                    pub_export_macro: true,
                    export_macro_name: "export_interface",
                    with: { "throughline:connector/types@0.1.0": crate::guest::host::throughline::connector::types },
                });
            }
        };
    }
    exported!(plugin, "package throughline:guest; world plugin-world { export throughline:connector/plugin@0.1.0; }");
    exported!(source, "package throughline:guest; world source-world { export throughline:connector/source@0.1.0; }");
    exported!(sink, "package throughline:guest; world sink-world { export throughline:connector/sink@0.1.0; }");
    exported!(webhook, "package throughline:guest; world webhook-world { export throughline:connector/webhook@0.1.0; }");
    exported!(listener, "package throughline:guest; world listener-world { export throughline:connector/listener@0.1.0; }");
    exported!(channel, "package throughline:guest; world channel-world { export throughline:connector/channel@0.1.0; }");
}
