//! Binds the import `vault` of a component: reads the snapshot and stages changes.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::bindings::quorate::party::vault as wit;
use crate::capabilities::vault::{EntryKind, Scope, VaultError, VaultState};
use crate::host_state::{HostCall, Provides};
use crate::secret::SecretBytes;

type Answer<T> = Result<T, wit::VaultError>;

pub(super) fn add_to<T: Provides<VaultState>>(interface: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    interface.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, T>, (scope, name): (wit::Scope, String)| {
            let HostCall { calls, capability } = store.data_mut().host_call();
            let found = capability.get(scope.into(), &name);
            let bytes = found.as_ref().ok().and_then(|v| v.as_ref()).map_or(0, |v| v.expose().len());
            calls.charge(name.len().saturating_add(bytes))?;
            let given = found.map(|value| value.map(|value| calls.give(value.expose())));
            Ok((given.map_err(wit::VaultError::from),))
        },
    )?;
    interface.func_wrap(
        "put",
        |mut store: StoreContextMut<'_, T>, (scope, name, value): (wit::Scope, String, Vec<u8>)| {
            Ok((stage(&mut store, EntryKind::Kept, scope, &name, value)?,))
        },
    )?;
    interface.func_wrap(
        "stock",
        |mut store: StoreContextMut<'_, T>, (scope, name, value): (wit::Scope, String, Vec<u8>)| {
            Ok((stage(&mut store, EntryKind::SingleUse, scope, &name, value)?,))
        },
    )?;
    interface.func_wrap_async(
        "take",
        |mut store: StoreContextMut<'_, T>, (scope, name): (wit::Scope, String)| {
            Box::new(async move {
                let HostCall { calls, capability } = store.data_mut().host_call();
                calls.charge(name.len())?;
                let taking = match capability.begin_take(scope.into(), &name) {
                    Ok(Some(taking)) => taking,
                    Ok(None) => return Ok((Answer::Ok(None),)),
                    Err(error) => return Ok((Err(error.into()),)),
                };
                Ok((match taking.await {
                    Ok(Some(value)) => {
                        let HostCall { calls, .. } = store.data_mut().host_call();
                        calls.charge(value.expose().len())?;
                        Ok(Some(calls.give(value.expose())))
                    }
                    Ok(None) => Ok(None),
                    Err(unavailable) => Err(VaultError::from(unavailable).into()),
                },))
            })
        },
    )?;
    interface.func_wrap(
        "list",
        |mut store: StoreContextMut<'_, T>, (scope, prefix, limit): (wit::Scope, String, u16)| {
            let HostCall { calls, capability } = store.data_mut().host_call();
            calls.charge(prefix.len().saturating_add(usize::from(limit) * 64))?;
            Ok((Answer::Ok(capability.list(scope.into(), &prefix, limit.into())),))
        },
    )
}

fn stage<T: Provides<VaultState>>(
    store: &mut StoreContextMut<'_, T>,
    kind: EntryKind,
    scope: wit::Scope,
    name: &str,
    value: Vec<u8>,
) -> wasmtime::Result<Answer<()>> {
    let value = SecretBytes::new(value);
    let HostCall { calls, capability } = store.data_mut().host_call();
    calls.charge(name.len().saturating_add(value.expose().len()))?;
    Ok(capability.stage(kind, scope.into(), name, value).map_err(wit::VaultError::from))
}

impl From<wit::Scope> for Scope {
    fn from(scope: wit::Scope) -> Self {
        match scope {
            wit::Scope::Key => Self::Key,
            wit::Scope::Group => Self::Group,
            wit::Scope::Party => Self::Party,
        }
    }
}

impl From<VaultError> for wit::VaultError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::InvalidName => Self::InvalidName,
            VaultError::Denied => Self::Denied,
            VaultError::Quota => Self::Quota,
            VaultError::Unavailable(_) => Self::Unavailable,
        }
    }
}
