"""Plans: values that describe a job, made from metadata, without a pixel request. No Prefect."""
