"""Plans: immutable descriptions of a job, made from metadata without a pixel request. Nothing here needs Prefect."""
