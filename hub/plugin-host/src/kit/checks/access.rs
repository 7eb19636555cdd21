//! `check` with good credentials, bad ones, expired ones, and good ones that may too little.

use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::{CheckReport, ConnectorError, ErrorClass};

use super::{Check, Extra, Need, Verdict, must_fail};
use crate::kit::context::Context;
use crate::kit::silo::http::Fault;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "check/good", needs: &[], run: good },
    Check { name: "check/bad-credentials", needs: &[Need::Secrets], run: bad },
    Check { name: "check/expired-credentials", needs: &[Need::Secrets], run: expired },
    Check { name: "check/insufficient-rights", needs: &[Need::Secrets], run: insufficient },
];

const ALWAYS: usize = usize::MAX;

async fn check(context: &Context) -> Result<Result<CheckReport, ConnectorError>, String> {
    Ok(context.check(&context.connect()?).await)
}

fn good<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let report = check(context).await?.map_err(|error| error.to_string())?;
        if report.account_id.trim().is_empty() || report.account_name.trim().is_empty() {
            return Err(format!("it does not say whose account it is: {report:?}"));
        }
        if !report.missing_scopes.is_empty() {
            return Err(format!("the kit's credentials may all that is needed, yet it misses {:?}", report.missing_scopes));
        }
        let again = check(context).await?.map_err(|error| format!("the second time: {error}"))?;
        let same = again.account_id == report.account_id;
        if same { Ok(()) } else { Err(format!("the account is {:?} and then {:?}", report.account_id, again.account_id)) }
    })
}

fn bad<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let connected = context.connect_as_stranger()?;
        must_fail("with wrong secrets", &context.check(&connected).await, &[ErrorClass::Auth])
    })
}

fn expired<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let plays = context.play("expired");
        if let Some(silo) = &context.http {
            silo.order(Fault::Expired, 0, ALWAYS);
        } else if !plays {
            return Err("no silo of the kit can play \"expired\": give a TCP script that part".to_owned());
        }
        must_fail("with expired credentials", &check(context).await?, &[ErrorClass::Auth])
    })
}

/// An error that says so, or a report that lists what is missing.
fn insufficient<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let plays = context.play("insufficient");
        if let Some(silo) = &context.http {
            silo.order(Fault::Forbidden, 0, ALWAYS);
        } else if !plays {
            return Err("no silo of the kit can play \"insufficient\": give a TCP script that part".to_owned());
        }
        match check(context).await? {
            Ok(report) if !report.missing_scopes.is_empty() => Ok(()),
            // What may not be opened cannot be told everywhere from what is not there: then the field is named.
            Err(error) if error.class == ErrorClass::Config && error.field.is_some() => Ok(()),
            other => must_fail("with too few rights", &other, &[ErrorClass::Permission]),
        }
    })
}
