//! The macro at the end of a plugin's `lib.rs`.

/// Makes a type the plugin: exports the interfaces named and embeds the manifest.
///
/// ```text
/// throughline_plugin_sdk::export!(Email, manifest = "manifest.json", interfaces = [source, listener, channel]);
/// ```
///
/// `manifest` is a path from the crate's root. `interfaces` are the traits implemented besides [`Connector`](crate::Connector), of
/// `source`, `sink`, `webhook`, `listener`, `channel`; the component exports these and no others. The macro also defines
/// `pub const MANIFEST: &str`, so that native tests can look at what was embedded.
#[macro_export]
macro_rules! export {
    ($connector:ty, manifest = $manifest:literal, interfaces = [$($interface:ident),* $(,)?] $(,)?) => {
        /// The manifest that the component carries.
        pub const MANIFEST: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));

        $crate::__export_guest!($connector, $($interface)*);

        #[cfg(test)]
        #[test]
        fn manifest_is_valid_and_names_this_version() {
            let manifest: $crate::private::Manifest = $crate::testing::manifest(MANIFEST);
            assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"), "manifest.json and Cargo.toml name different versions");
        }

        const _: fn() = || {
            fn is_connector<C: $crate::Connector>() {}
            is_connector::<$connector>();
            $($crate::__assert_interface!($connector, $interface);)*
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __assert_interface {
    ($connector:ty, source) => {{
        fn is_source<C: $crate::Source>() {}
        is_source::<$connector>();
    }};
    ($connector:ty, sink) => {{
        fn is_sink<C: $crate::Sink>() {}
        is_sink::<$connector>();
    }};
    ($connector:ty, webhook) => {{
        fn is_webhook<C: $crate::Webhook>() {}
        is_webhook::<$connector>();
    }};
    ($connector:ty, listener) => {{
        fn is_listener<C: $crate::Listener>() {}
        is_listener::<$connector>();
    }};
    ($connector:ty, channel) => {{
        fn is_channel<C: $crate::Channel>() {}
        is_channel::<$connector>();
    }};
    ($connector:ty, $other:ident) => {
        compile_error!(concat!("no interface is called `", stringify!($other), "`: source, sink, webhook, listener, channel"))
    };
}

/// Natively there is nothing to export: the unit tests call the traits.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_guest {
    ($connector:ty, $($interface:ident)*) => {};
}

/// In a guest: the manifest as a custom section, and the ABI's functions for `plugin` and for each interface named.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_guest {
    ($connector:ty, $($interface:ident)*) => {
        #[allow(unsafe_code, reason = "a component's exports and its custom sections exist only as unsafe attributes")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "throughline:manifest")]
            static SECTION: [u8; MANIFEST.len()] = {
                let mut bytes = [0; MANIFEST.len()];
                bytes.copy_from_slice(MANIFEST.as_bytes());
                bytes
            };
            type Exported = $crate::guest::Adapter<$connector>;
            $crate::guest::plugin::export_interface!(Exported with_types_in $crate::guest::plugin);
            $($crate::guest::$interface::export_interface!(Exported with_types_in $crate::guest::$interface);)*
        };
    };
}
