//! Creating, updating and deleting functions.

use std::{collections::BTreeMap, sync::Arc};

use proto_lambda::{
    ApiError, CreateFunctionRequest, FunctionConfiguration, FunctionRef, Qualifier,
    UpdateFunctionCodeRequest, UpdateFunctionConfigurationRequest, limits,
};
use proto_node::Revision;
use uuid::Uuid;

use crate::{
    ChangeError, DeleteError, FindError, Function, FunctionRecord, Phase, RECORD_VERSION,
    Readiness, Registry, Retired, StoredCode, record::check_revision, version,
};

/// A small number that validation has put in range.
fn small(value: Option<i64>, default: u32) -> u32 {
    value
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(default)
}

/// Two changes at once are refused, as at AWS: the second would have nothing to fall back on.
fn check_settled(latest: &Function) -> Result<(), ChangeError> {
    if latest.readiness() != Readiness::Preparing {
        return Ok(());
    }
    Err(match latest.stand_in() {
        Some(_) => ChangeError::Updating {
            arn: latest.spec.arn.clone(),
        },
        None => ChangeError::Pending,
    })
}

fn new_record(name: String, request: CreateFunctionRequest, code: &StoredCode) -> FunctionRecord {
    let mut record = FunctionRecord {
        record_version: RECORD_VERSION,
        name,
        version: None,
        last_version: 0,
        published_from: None,
        role: request.role.unwrap_or_default(),
        runtime: request.runtime.unwrap_or_default(),
        handler: request.handler.unwrap_or_default(),
        description: request.description.unwrap_or_default(),
        timeout: small(request.timeout, limits::DEFAULT_TIMEOUT_SECONDS),
        memory_mb: small(request.memory_size, limits::DEFAULT_MEMORY_MB),
        ephemeral_storage_mb: small(
            request.ephemeral_storage.map(|storage| storage.size),
            limits::DEFAULT_EPHEMERAL_STORAGE_MB,
        ),
        environment: request
            .environment
            .map(|environment| environment.variables.unwrap_or_default()),
        tracing_mode: request
            .tracing_config
            .and_then(|tracing| tracing.mode)
            .unwrap_or("PassThrough".to_owned()),
        snap_start_apply_on: request
            .snap_start
            .and_then(|snap| snap.apply_on)
            .unwrap_or("None".to_owned()),
        logging: request.logging_config.unwrap_or_default(),
        tags: request.tags.unwrap_or_default(),
        code_sha256: code.sha256().to_owned(),
        code_size: code.size(),
        code_unpacked: Some(code.unpacked()),
        revision_id: String::new(),
        revision: Revision(String::new()),
        last_modified_ms: 0,
    };
    record.renew();
    record
}

fn updated_record(
    old: &FunctionRecord,
    request: UpdateFunctionConfigurationRequest,
) -> FunctionRecord {
    let mut record = old.clone();
    let set = |field: &mut String, value: Option<String>| {
        if let Some(value) = value {
            *field = value;
        }
    };
    set(&mut record.role, request.role);
    set(&mut record.runtime, request.runtime);
    set(&mut record.handler, request.handler);
    set(&mut record.description, request.description);
    set(
        &mut record.tracing_mode,
        request.tracing_config.and_then(|tracing| tracing.mode),
    );
    set(
        &mut record.snap_start_apply_on,
        request.snap_start.and_then(|snap| snap.apply_on),
    );
    record.timeout = small(request.timeout, old.timeout);
    record.memory_mb = small(request.memory_size, old.memory_mb);
    record.ephemeral_storage_mb = small(
        request.ephemeral_storage.map(|storage| storage.size),
        old.ephemeral_storage_mb,
    );
    if let Some(environment) = request.environment {
        let variables = environment.variables.unwrap_or_default();
        record.environment = if variables.is_empty() {
            None
        } else {
            Some(variables)
        };
    }
    if let Some(logging) = request.logging_config {
        record.logging = logging;
    }
    record.renew();
    record
}

impl Registry {
    /// CreateFunction. The function can be invoked when this returns.
    pub async fn create(
        &self,
        mut request: CreateFunctionRequest,
    ) -> Result<FunctionConfiguration, ChangeError> {
        request.check()?;
        let given = request.function_name.take().unwrap_or_default();
        let wanted = FunctionRef::parse(&given, limits::NAME_OR_ARN_CHARS)?;
        if wanted.qualifier.is_some() {
            return Err(ApiError::invalid_parameter(
                "A function is created without a qualifier; leave it out of the function name.",
            )
            .into());
        }
        self.check_place(&wanted)?;
        if self.exists(&wanted.name) {
            return Err(ChangeError::Exists(wanted.name));
        }
        let zip = request.code.take().and_then(|code| code.zip_file);
        let zip = zip.ok_or_else(|| {
            ApiError::invalid_parameter("Please provide a source for function code.")
        })?;
        let code = self.store_code(zip).await?;
        let publish = request.publish == Some(true);
        let mut record = new_record(wanted.name, request, &code);
        let changes = self.changes.lock().await;
        if self.exists(&record.name) {
            return Err(ChangeError::Exists(record.name));
        }
        let published = publish.then(|| version::publish(&mut record, &code, None, &self.config));
        let latest = Function::renewed(record, code, None, &self.config);
        let function = self.insert(latest, published.clone()).await?;
        drop(changes);
        tracing::info!(
            function = function.record.name,
            code = function.record.code_sha256,
            "function created"
        );
        let shown = published.as_deref().unwrap_or(&function);
        Ok(shown.in_between(None, Phase::Creating))
    }

    /// UpdateFunctionCode. `None` for the retired revision of a dry run.
    pub async fn update_code(
        &self,
        wanted: &FunctionRef,
        request: UpdateFunctionCodeRequest,
    ) -> Result<(FunctionConfiguration, Option<Retired>), ChangeError> {
        request.check()?;
        let unqualified = self.only_latest(wanted)?;
        let revision = request.revision_id.as_deref();
        check_revision(&self.find(unqualified)?.record.revision_id, revision)?;
        let zip = request.code.zip_file;
        let zip = zip.ok_or_else(|| {
            ApiError::invalid_parameter("Please provide a source for function code.")
        })?;
        if request.dry_run == Some(true) {
            self.check_code(zip).await?;
            return Ok((
                self.find(unqualified)?.configuration(None, Phase::Settled),
                None,
            ));
        }
        let code = self.store_code(zip).await?;
        let changes = self.changes.lock().await;
        let old = self.find(unqualified)?;
        check_revision(&old.record.revision_id, request.revision_id.as_deref())?;
        check_settled(&old)?;
        let mut record = old.record.clone();
        record.code_sha256 = code.sha256().to_owned();
        record.code_size = code.size();
        record.code_unpacked = Some(code.unpacked());
        record.renew();
        let published = (request.publish == Some(true))
            .then(|| version::publish(&mut record, &code, None, &self.config));
        let latest = Function::renewed(record, code, Some(Arc::clone(&old)), &self.config);
        let new = self.replace(&old, latest, published.clone()).await?;
        drop(changes);
        tracing::info!(
            function = new.record.name,
            code = new.record.code_sha256,
            "function code updated"
        );
        let answer = match published {
            Some(version) => {
                let qualifier = version.record.qualifier();
                version.in_between(Some(&qualifier), Phase::Creating)
            }
            None => new.in_between(None, Phase::Updating),
        };
        Ok((answer, Some(old.retired())))
    }

    /// UpdateFunctionConfiguration.
    pub async fn update_configuration(
        &self,
        wanted: &FunctionRef,
        request: UpdateFunctionConfigurationRequest,
    ) -> Result<(FunctionConfiguration, Retired), ChangeError> {
        request.check()?;
        let unqualified = self.only_latest(wanted)?;
        let changes = self.changes.lock().await;
        let old = self.find(unqualified)?;
        check_revision(&old.record.revision_id, request.revision_id.as_deref())?;
        check_settled(&old)?;
        let record = updated_record(&old.record, request);
        let (code, stand_in) = (Arc::clone(&old.code), Some(Arc::clone(&old)));
        let latest = Function::renewed(record, code, stand_in, &self.config);
        let new = self.replace(&old, latest, None).await?;
        drop(changes);
        tracing::info!(function = new.record.name, "function configuration updated");
        Ok((new.in_between(None, Phase::Updating), old.retired()))
    }

    /// DeleteFunction: one version if the name is qualified, else everything.
    pub async fn delete(&self, wanted: &FunctionRef) -> Result<Vec<Retired>, DeleteError> {
        let changes = self.changes.lock().await;
        self.check_place(wanted)?;
        let latest = self
            .find(&wanted.clone().without_qualifier())
            .map_err(|_| self.not_found(wanted))?;
        match &wanted.qualifier {
            None => {}
            Some(Qualifier::Latest) => return Err(DeleteError::Latest),
            Some(Qualifier::Alias(_)) => return Err(DeleteError::Alias),
            Some(Qualifier::Version(number)) => {
                let deleted = self.delete_version(&wanted.name, number).await?;
                return Ok(deleted.iter().map(|version| version.retired()).collect());
            }
        }
        let entry = self.remove(&latest).await?;
        drop(changes);
        tracing::info!(function = latest.record.name, "function deleted");
        let all = entry.iter().flat_map(|entry| entry.all());
        Ok(all.map(|version| version.retired()).collect())
    }

    /// Replaces the tags of a function through `change`; the revision that runs stays the same.
    pub(crate) async fn change_tags(
        &self,
        wanted: &FunctionRef,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), ApiError>,
    ) -> Result<(), ChangeError> {
        let _changes = self.changes.lock().await;
        let old = self.find(wanted)?;
        let mut record = old.record.clone();
        change(&mut record.tags)?;
        record.revision_id = Uuid::new_v4().to_string();
        let latest = old.with_record(record, &self.config);
        self.replace(&old, latest, None).await?;
        Ok(())
    }

    /// Updates work on `$LATEST`, however it is named.
    pub(crate) fn only_latest<'a>(
        &self,
        wanted: &'a FunctionRef,
    ) -> Result<&'a FunctionRef, FindError> {
        match wanted.qualifier {
            None | Some(Qualifier::Latest) => Ok(wanted),
            Some(_) => Err(self.not_found(wanted)),
        }
    }
}
