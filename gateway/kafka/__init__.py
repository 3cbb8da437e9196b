"""The only importer of aiokafka: topics, live reader, replay scans, publisher."""
