//! Where credentials are kept between processes: leases, fences, generations, sealed rows.
