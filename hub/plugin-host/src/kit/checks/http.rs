//! Answers that a silo gives on its bad days. A reading plugin is read from, any other is asked to check.

use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use super::{Check, Extra, HONEST, Need, Verdict, must_be_clean, must_fail, wanted};
use crate::kit::context::{Context, difference, union};
use crate::kit::rig::Connected;
use crate::kit::silo::http::{Fault, HttpSilo};

const HTTP: &[Need] = &[Need::Http];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "http/429-with-retry-after", needs: HTTP, run: patient },
    Check { name: "http/429-without-retry-after", needs: HTTP, run: patient_without_a_time },
    Check { name: "http/storm-of-500", needs: HTTP, run: storm },
    Check { name: "http/truncated-json", needs: HTTP, run: truncated },
    Check { name: "http/wrong-content-type", needs: HTTP, run: picture },
    Check { name: "http/10-mb-body", needs: HTTP, run: big },
    Check { name: "http/login-page-with-200", needs: HTTP, run: login_page },
    Check { name: "http/token-expires-in-mid-page", needs: &[Need::Http, Need::Source], run: expires },
];

const ALWAYS: usize = usize::MAX;
const USUAL: u32 = 100;
fn silo(context: &Context) -> Result<&HttpSilo, String> {
    wanted(context.http.as_deref(), "http", "the plugin asks for HTTP")
}

/// Reads every entity, or checks; what it gives when all is well.
async fn probe(context: &Context, connected: &Connected) -> Result<String, ConnectorError> {
    if !context.rig.plugin().exports("source") {
        return context.check(connected).await.map(|report| report.account_id);
    }
    let mut pages = Vec::new();
    for entity in context.readable() {
        pages.extend(context.walk(connected, &entity, None, USUAL).await?);
    }
    Ok(format!("{:?}", union(&pages)))
}

/// Suffers a fault, and is as well as ever after it, in the same instance.
async fn suffer(context: &Context, fault: Fault, verdict: impl Fn(&Result<String, ConnectorError>) -> Verdict) -> Verdict {
    let silo = silo(context)?;
    let connected = context.connect()?;
    let well = probe(context, &connected).await.map_err(|error| format!("without a fault: {error}"))?;
    silo.order(fault, 0, ALWAYS);
    let before = silo.requests();
    verdict(&probe(context, &connected).await)?;
    if silo.requests() == before {
        return Err("no request was made, so nothing was shown".to_owned());
    }
    silo.behave();
    let after = probe(context, &connected).await.map_err(|error| format!("after the fault: {error}"))?;
    if after == well { Ok(()) } else { Err("after the fault something else is read than before it".to_owned()) }
}

fn patient<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(suffer(context, Fault::RateLimited(Some(7)), |result| {
        must_fail("429", result, &[ErrorClass::RateLimited])?;
        match result.as_ref().err().and_then(|error| error.retry_after_ms) {
            Some(7000) => Ok(()),
            other => Err(format!("the silo asked for 7 s of patience, the error says {other:?} ms")),
        }
    }))
}

fn patient_without_a_time<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(suffer(context, Fault::RateLimited(None), |result| must_fail("429", result, &[ErrorClass::RateLimited])))
}

fn storm<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let silo = silo(context)?;
        let connected = context.connect()?;
        let well = probe(context, &connected).await.map_err(|error| format!("without a fault: {error}"))?;
        silo.order(Fault::Broken, 0, ALWAYS);
        for _ in 0..20 {
            let before = silo.requests();
            must_fail("500", &probe(context, &connected).await, &[ErrorClass::Transient])?;
            let made = silo.requests() - before;
            if made > 3 {
                return Err(format!("one call made {made} requests although each was answered 500: retries are the hub's"));
            }
        }
        silo.behave();
        let after = probe(context, &connected).await.map_err(|error| format!("after the storm: {error}"))?;
        if after == well { Ok(()) } else { Err("after the storm something else is read than before it".to_owned()) }
    })
}

fn truncated<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(suffer(context, Fault::Truncated, |result| {
        must_fail("half of the JSON", result, &[ErrorClass::Transient, ErrorClass::Ambiguous])
    }))
}

fn picture<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(suffer(context, Fault::Picture, |result| must_fail("a picture", result, HONEST)))
}

/// What is made of it does not matter, as long as it is not the instance's end.
fn big<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(suffer(context, Fault::Big, |result| must_be_clean("10 MB", result)))
}

fn login_page<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(suffer(context, Fault::LoginPage, |result| must_fail("a login page with status 200", result, HONEST)))
}

/// The second page is refused; from where the first ended all is read once the credentials are good again.
fn expires<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let silo = silo(context)?;
        for entity in context.readable() {
            let whole = context.all(&entity, USUAL).await?;
            let connected = context.connect()?;
            let first = context.page(&connected, &entity, None, 1).await.map_err(|error| error.to_string())?;
            let next = first.next.clone().ok_or("the first page of one record has no next: the kit's silo needs more records")?;
            silo.order(Fault::Expired, 0, ALWAYS);
            let refused = context.page(&connected, &entity, Some(&next), 1).await;
            must_fail("the page after the token expired", &refused, &[ErrorClass::Auth])?;
            silo.behave();
            let mut pages = vec![first];
            pages.extend(context.walk(&connected, &entity, Some(next), 2).await.map_err(|error| format!("with a new token: {error}"))?);
            difference(&union(&pages), &whole).map_err(|text| format!("{entity}: {text}"))?;
        }
        Ok(())
    })
}
