//! Listening to a silo that says things twice, or one before the other: the same comes of it.

use std::sync::Arc;

use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::ErrorClass;

use super::listen::{LISTENER, same_news, undisturbed};
use super::{Check, Extra, Verdict};
use crate::kit::context::{Context, Union, listen, listened};
use crate::kit::silo::script::Arrangement;
use crate::kit::silo::tcp::{Orders, TcpSilo};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "listen/everything-twice", needs: LISTENER, run: doubled },
    Check { name: "listen/out-of-order", needs: LISTENER, run: out_of_order },
];

/// So many pairs are swapped at the most, evenly over a stream that has more.
const MOST_SWAPS: usize = 200;

fn doubled<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let (expected, _) = undisturbed(context).await?;
        if rearranged(context, Arrangement::Doubled, &expected).await? {
            return Ok(());
        }
        Err("nothing in the kit's scripts can be said twice: no rule has a file or numbered texts".to_owned())
    })
}

/// Each two neighbours that may come the other way round do, in turn.
fn out_of_order<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let (expected, _) = undisturbed(context).await?;
        let messages = most(context, TcpSilo::most_messages);
        let mut swapped = 0;
        for at in (0..messages.saturating_sub(1)).step_by(messages.div_ceil(MOST_SWAPS).max(1)) {
            swapped += usize::from(rearranged(context, Arrangement::Swapped(at), &expected).await?);
        }
        if swapped > 0 {
            return Ok(());
        }
        Err("no two messages of the kit's scripts can come the other way round, so nothing was shown: see \"in_order\"".to_owned())
    })
}

fn most(context: &Context, count: impl Fn(&TcpSilo) -> usize) -> usize {
    context.tcp.values().map(|silo: &Arc<TcpSilo>| count(silo)).max().unwrap_or_default()
}

/// Listens to the stream so arranged; whether that was another stream than the one that is written.
async fn rearranged(context: &Context, arrangement: Arrangement, expected: &Union) -> Result<bool, String> {
    let before = most(context, TcpSilo::rearranged);
    context.order(&Orders { arrangement, ..Orders::default() });
    let connected = context.connect()?;
    if let Some(Err(error)) = listen(context, &connected, Some(expected.len())).await
        && error.class != ErrorClass::Transient
    {
        return Err(format!("{arrangement:?}: {error}"));
    }
    same_news(&listened(&connected.desk), expected).map_err(|text| format!("{arrangement:?}: {text}"))?;
    Ok(most(context, TcpSilo::rearranged) > before)
}
