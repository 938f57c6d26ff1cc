//! `wasi:keyvalue@0.2.0-draft`: counters are unsigned, cursors numbers.

use wasmtime::component::Resource;

use super::super::bindings::wasi::keyvalue0_2_0_draft::{atomics, batch, store};
use super::buckets::{Bucket, BucketError, KeyValue};
use crate::state::{Call, Refused, StateError};

impl store::Host for KeyValue<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, BucketError> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: BucketError) -> wasmtime::Result<store::Error> {
        Ok(match error {
            BucketError::NoSuchStore => store::Error::NoSuchStore,
            BucketError::AccessDenied => store::Error::AccessDenied,
            BucketError::Other(text) => store::Error::Other(text),
        })
    }
}

impl store::HostBucket for KeyValue<'_> {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, BucketError> {
        let value = self.call(&bucket, Call::Get { key }).await?.into_value();
        Ok(value.map(|(value, _)| value))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), BucketError> {
        self.call(&bucket, Call::Set { key, value }).await.map(drop)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), BucketError> {
        let expected = None;
        self.call(&bucket, Call::Delete { key, expected })
            .await
            .map(drop)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, BucketError> {
        Ok(self.call(&bucket, Call::Exists { key }).await?.existed())
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, BucketError> {
        let (keys, cursor) = self
            .call(&bucket, Call::ListKeys { cursor })
            .await?
            .into_keys();
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValue<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<u64, BucketError> {
        let beyond = |_| Refused::from(StateError::CounterOverflow { least: 0 });
        let delta = i64::try_from(delta).map_err(beyond)?;
        let sums = 0..;
        let call = Call::Increment { key, delta, sums };
        let sum = self.call(&bucket, call).await?.number();
        Ok(u64::try_from(sum).map_err(beyond)?)
    }
}

impl batch::Host for KeyValue<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, BucketError> {
        let call = Call::GetMany { keys: keys.clone() };
        let values = self.call(&bucket, call).await?.into_values();
        Ok(keys
            .into_iter()
            .zip(values)
            .map(|(key, value)| Some((key, value?)))
            .collect())
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), BucketError> {
        self.call(&bucket, Call::SetMany { pairs }).await.map(drop)
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), BucketError> {
        self.call(&bucket, Call::DeleteMany { keys })
            .await
            .map(drop)
    }
}
