//! Published versions: immutable copies of `$LATEST` with a number.

use std::sync::Arc;

use proto_lambda::{
    ApiError, FunctionConfiguration, FunctionRef, PublishVersionRequest, Violations, limits,
};

use crate::{
    ChangeError, Config, DeleteError, Function, FunctionRecord, Phase, Registry, StoredCode,
    digest::base64_of_hex, entry::version_number, record::check_revision,
};

/// Makes the next version of `latest`, and counts it there.
pub(crate) fn publish(
    latest: &mut FunctionRecord,
    code: &Arc<StoredCode>,
    description: Option<String>,
    config: &Config,
) -> Arc<Function> {
    latest.last_version = latest.last_version.saturating_add(1);
    let mut record = FunctionRecord {
        version: Some(latest.last_version),
        last_version: 0,
        published_from: Some(latest.revision.clone()),
        tags: Default::default(),
        ..latest.clone()
    };
    record.renew();
    if let Some(description) = description {
        record.description = description;
    }
    let version = Function::renewed(record, Arc::clone(code), None, config);
    Arc::new(version)
}

fn check_hash(latest: &FunctionRecord, wanted: Option<&str>) -> Result<(), ChangeError> {
    let current = base64_of_hex(&latest.code_sha256);
    match wanted {
        Some(wanted) if !wanted.is_empty() && wanted != current => Err(ChangeError::OtherCode {
            wanted: wanted.to_owned(),
            current,
        }),
        _ => Ok(()),
    }
}

impl Registry {
    /// PublishVersion. Answers the newest version if `$LATEST` has not changed since.
    pub async fn publish_version(
        &self,
        wanted: &FunctionRef,
        request: PublishVersionRequest,
    ) -> Result<FunctionConfiguration, ChangeError> {
        let mut violations = Violations::default();
        let description = request.description.as_deref();
        violations.check_length(description, "description", limits::DESCRIPTION_CHARS);
        violations.into_result()?;
        if request.publish_to.is_some() {
            return Err(
                ApiError::invalid_parameter("Rekindle does not support PublishTo yet.").into(),
            );
        }
        let unqualified = self.only_latest(wanted)?;
        let changes = self.changes.lock().await;
        let old = self.find(unqualified)?;
        check_revision(&old.record.revision_id, request.revision_id.as_deref())?;
        check_hash(&old.record, request.code_sha256.as_deref())?;
        if let Some(newest) = self.newest_version(&old.record)
            && newest.record.published_from.as_ref() == Some(&old.record.revision)
        {
            let qualifier = newest.record.qualifier();
            return Ok(newest.configuration(Some(&qualifier), Phase::Settled));
        }
        self.check_room(&old.record.name)?;
        let mut record = old.record.clone();
        let version = publish(&mut record, &old.code, request.description, &self.config);
        let latest = old.with_record(record, &self.config);
        self.replace(&old, latest, Some(Arc::clone(&version)))
            .await?;
        drop(changes);
        tracing::info!(
            function = version.record.name,
            version = version.record.version,
            "version published"
        );
        let qualifier = version.record.qualifier();
        Ok(version.in_between(Some(&qualifier), Phase::Creating))
    }

    /// Removes a version; none is told for one that is not there, as at AWS. The caller holds `changes`.
    pub(crate) async fn delete_version(
        &self,
        name: &str,
        number: &str,
    ) -> Result<Option<Arc<Function>>, DeleteError> {
        let Some(number) = version_number(number) else {
            return Ok(None);
        };
        let (version, aliases) = {
            let functions = self.functions.read();
            let Some(entry) = functions.get(name) else {
                return Ok(None);
            };
            let aliases: Vec<&str> = entry
                .aliases
                .values()
                .filter(|alias| alias.refers_to(number))
                .map(|alias| alias.name.as_str())
                .collect();
            (entry.versions.get(&number).cloned(), aliases.join(", "))
        };
        let Some(version) = version else {
            return Ok(None);
        };
        if !aliases.is_empty() {
            return Err(DeleteError::Referenced(aliases));
        }
        self.store.remove_version(name.to_owned(), number).await?;
        if let Some(entry) = self.functions.write().get_mut(name) {
            entry.versions.remove(&number);
        }
        tracing::info!(function = name, version = number, "version deleted");
        Ok(Some(version))
    }

    /// The version published last, if it is still there.
    fn newest_version(&self, latest: &FunctionRecord) -> Option<Arc<Function>> {
        let functions = self.functions.read();
        let entry = functions.get(&latest.name)?;
        entry.versions.get(&latest.last_version).cloned()
    }

    /// Refuses another version where there are as many as there may be.
    pub(crate) fn check_room(&self, name: &str) -> Result<(), ChangeError> {
        let functions = self.functions.read();
        match functions.get(name) {
            Some(entry) if entry.versions.len() >= limits::VERSIONS => Err(ChangeError::Versions),
            _ => Ok(()),
        }
    }
}
