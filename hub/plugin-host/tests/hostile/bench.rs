//! The benchmark's own entry works; how fast is `cargo xtask bench`'s affair.

use serde_json::json;
use throughline_plugin_host::bench_support::Bench;

use crate::build::hostile;
use crate::support::{Rig, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn it_calls_instantiates_and_listens() {
    let rig = Rig::new().await;
    let bench = Bench::new(rig.host.clone(), hostile(), json!({})).unwrap();
    let (calls, fresh) = (bench.calls(1000, 1024).await.unwrap(), bench.instantiate(20).await.unwrap());
    println!("1000 calls of 1 KiB: {calls:?}; 20 instances: {fresh:?}");
    let listeners = bench.listeners(5).unwrap();
    eventually("five listeners", || bench.alive() == 5).await;
    for listener in listeners {
        listener.stop().await;
    }
    eventually("none", || bench.alive() == 0).await;
}
