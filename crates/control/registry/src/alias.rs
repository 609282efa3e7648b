//! Aliases: names for a version, or for two with a part of the traffic each.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proto_lambda::{
    AliasConfiguration, CreateAliasRequest, FunctionRef, ListAliasesResponse, Qualifier,
    RoutingConfig, UpdateAliasRequest, Violations, check_alias_name, limits,
};
use uuid::Uuid;

use crate::{
    AliasError, AliasRecord, FindError, ListError, Registry,
    entry::{Entry, version_number},
    list::read_marker,
    record::check_revision,
};

fn version_text(version: Option<u64>) -> String {
    version.map_or_else(|| "$LATEST".to_owned(), |number| number.to_string())
}

impl Registry {
    /// CreateAlias.
    pub async fn create_alias(
        &self,
        wanted: &FunctionRef,
        request: CreateAliasRequest,
    ) -> Result<AliasConfiguration, AliasError> {
        request.check()?;
        let name = request.name.unwrap_or_default();
        let version = request.function_version.unwrap_or_default();
        let wanted = self.unqualified(wanted)?;
        let _changes = self.changes.lock().await;
        let record = {
            let functions = self.functions.read();
            let entry = functions
                .get(&wanted.name)
                .ok_or_else(|| self.not_found(&wanted))?;
            let version = self.existing(&wanted, entry, &version)?;
            let additional = self.routing(&wanted, entry, version, request.routing_config)?;
            if entry.aliases.contains_key(&name) {
                return Err(AliasError::Exists {
                    arn: self.alias_arn(&wanted, &name),
                });
            }
            if entry.aliases.len() >= limits::ALIASES {
                return Err(AliasError::TooMany);
            }
            AliasRecord {
                function: wanted.name.clone(),
                name,
                version,
                description: request.description.unwrap_or_default(),
                additional,
                revision_id: Uuid::new_v4().to_string(),
            }
        };
        self.put_alias(&wanted, record).await
    }

    /// UpdateAlias.
    pub async fn update_alias(
        &self,
        wanted: &FunctionRef,
        name: &str,
        request: UpdateAliasRequest,
    ) -> Result<AliasConfiguration, AliasError> {
        check_alias_name(name)?;
        request.check()?;
        let wanted = self.unqualified(wanted)?;
        let _changes = self.changes.lock().await;
        let record = {
            let functions = self.functions.read();
            let entry = functions
                .get(&wanted.name)
                .ok_or_else(|| self.not_found(&wanted))?;
            let old = entry.aliases.get(name).ok_or_else(|| AliasError::Missing {
                arn: self.alias_arn(&wanted, name),
            })?;
            check_revision(&old.revision_id, request.revision_id.as_deref())?;
            let version = match &request.function_version {
                Some(version) => self.existing(&wanted, entry, version)?,
                None => old.version,
            };
            let routing = request.routing_config.or_else(|| routing_of(old));
            AliasRecord {
                version,
                additional: self.routing(&wanted, entry, version, routing)?,
                description: request
                    .description
                    .unwrap_or_else(|| old.description.clone()),
                revision_id: Uuid::new_v4().to_string(),
                ..AliasRecord::clone(old)
            }
        };
        self.put_alias(&wanted, record).await
    }

    /// GetAlias.
    pub fn alias(
        &self,
        wanted: &FunctionRef,
        name: &str,
    ) -> Result<AliasConfiguration, AliasError> {
        check_alias_name(name)?;
        let wanted = self.unqualified(wanted)?;
        let functions = self.functions.read();
        let alias = functions
            .get(&wanted.name)
            .and_then(|entry| entry.aliases.get(name));
        let alias = alias.ok_or_else(|| AliasError::Unknown {
            arn: self.alias_arn(&wanted, name),
        })?;
        Ok(self.shown(&wanted, alias))
    }

    /// DeleteAlias. An alias that is not there is deleted already.
    pub async fn delete_alias(&self, wanted: &FunctionRef, name: &str) -> Result<(), AliasError> {
        check_alias_name(name)?;
        let wanted = self.unqualified(wanted)?;
        let _changes = self.changes.lock().await;
        self.find(&wanted)?;
        self.store
            .remove_alias(wanted.name.clone(), name.to_owned())
            .await?;
        if let Some(entry) = self.functions.write().get_mut(&wanted.name) {
            entry.aliases.remove(name);
        }
        Ok(())
    }

    /// ListAliases, only those that point to `version` if one is given.
    pub fn list_aliases(
        &self,
        wanted: &FunctionRef,
        version: Option<&str>,
        marker: Option<&str>,
        page: usize,
    ) -> Result<ListAliasesResponse, ListError> {
        let mut violations = Violations::default();
        proto_lambda::check_version(version, &mut violations);
        violations.into_result()?;
        let wanted = self.unqualified(wanted)?;
        let after = read_marker(marker)?.unwrap_or_default();
        let functions = self.functions.read();
        let entry = functions
            .get(&wanted.name)
            .ok_or_else(|| self.not_found(&wanted))?;
        let mut aliases: Vec<AliasConfiguration> = entry
            .aliases
            .range(after.clone()..)
            .filter(|(name, _)| after.is_empty() || **name != after)
            .map(|(_, alias)| alias)
            .filter(|alias| {
                version.is_none_or(|version| {
                    version_text(alias.version) == version
                        || version_number(version).is_some_and(|number| alias.refers_to(number))
                })
            })
            .take(page.saturating_add(1))
            .map(|alias| self.shown(&wanted, alias))
            .collect();
        let more = aliases.len() > page;
        aliases.truncate(page);
        Ok(ListAliasesResponse {
            next_marker: aliases
                .last()
                .filter(|_| more)
                .map(|last| BASE64_URL_SAFE_NO_PAD.encode(&last.name)),
            aliases,
        })
    }

    /// The number of a version that exists.
    fn existing(
        &self,
        wanted: &FunctionRef,
        entry: &Entry,
        version: &str,
    ) -> Result<Option<u64>, FindError> {
        if version == "$LATEST" {
            return Ok(None);
        }
        match version_number(version).filter(|number| entry.versions.contains_key(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let named = FunctionRef {
                    qualifier: Some(Qualifier::Version(version.to_owned())),
                    ..wanted.clone()
                };
                Err(self.not_found(&named))
            }
        }
    }

    /// The second version and its part of the traffic, checked against the alias's own version.
    fn routing(
        &self,
        wanted: &FunctionRef,
        entry: &Entry,
        own: Option<u64>,
        routing: Option<RoutingConfig>,
    ) -> Result<Option<(u64, f64)>, AliasError> {
        let weights = routing.unwrap_or_default().additional_version_weights;
        let Some((version, weight)) = weights.into_iter().next() else {
            return Ok(None);
        };
        let Some(own) = own else {
            return Err(AliasError::LatestWithOther);
        };
        if version == own.to_string() {
            return Err(AliasError::Twice(own));
        }
        let number = self.existing(wanted, entry, &version)?;
        Ok(number.map(|number| (number, weight)))
    }

    async fn put_alias(
        &self,
        wanted: &FunctionRef,
        record: AliasRecord,
    ) -> Result<AliasConfiguration, AliasError> {
        self.store.put_alias(record.clone()).await?;
        let record = Arc::new(record);
        if let Some(entry) = self.functions.write().get_mut(&record.function) {
            entry
                .aliases
                .insert(record.name.clone(), Arc::clone(&record));
        }
        tracing::info!(function = record.function, alias = record.name, "alias set");
        Ok(self.shown(wanted, &record))
    }

    /// The function itself: an alias belongs to no version.
    fn unqualified(&self, wanted: &FunctionRef) -> Result<FunctionRef, FindError> {
        self.check_place(wanted)?;
        Ok(wanted.clone().without_qualifier())
    }

    fn alias_arn(&self, wanted: &FunctionRef, name: &str) -> String {
        self.arn_of(&FunctionRef {
            qualifier: Some(Qualifier::Alias(name.to_owned())),
            ..wanted.clone()
        })
    }

    fn shown(&self, wanted: &FunctionRef, alias: &AliasRecord) -> AliasConfiguration {
        AliasConfiguration {
            alias_arn: self.alias_arn(wanted, &alias.name),
            name: alias.name.clone(),
            function_version: version_text(alias.version),
            description: alias.description.clone(),
            routing_config: routing_of(alias),
            revision_id: alias.revision_id.clone(),
        }
    }
}

fn routing_of(alias: &AliasRecord) -> Option<RoutingConfig> {
    let (version, weight) = alias.additional?;
    Some(RoutingConfig {
        additional_version_weights: [(version.to_string(), weight)].into(),
    })
}
